from app.parts.sides.component import Chosen, Kind, SidesPicker

__all__ = ["Chosen", "Kind", "SidesPicker"]
