from app.parts.scrubber.component import Scrubber, Trace

__all__ = ["Scrubber", "Trace"]
