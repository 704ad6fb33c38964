from app.parts.notice.component import Message, Notice

__all__ = ["Message", "Notice"]
