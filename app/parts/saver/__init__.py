from app.parts.saver.component import Saved, Saver

__all__ = ["Saved", "Saver"]
