from app.parts.masthead.component import Identity, Masthead

__all__ = ["Identity", "Masthead"]
