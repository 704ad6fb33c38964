from app.parts.guide.component import Guide, GuideData

__all__ = ["Guide", "GuideData"]
