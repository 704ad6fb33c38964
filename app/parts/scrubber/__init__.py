from app.parts.scrubber.component import AskedObject, Scrubber, Trace

__all__ = ["AskedObject", "Scrubber", "Trace"]
