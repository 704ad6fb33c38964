from app.notice.component import Message, Notice

__all__ = ["Message", "Notice"]
