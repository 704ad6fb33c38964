from app.parts.history.component import Finished, History

__all__ = ["Finished", "History"]
