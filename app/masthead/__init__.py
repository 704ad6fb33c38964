from app.masthead.component import Identity, Masthead

__all__ = ["Identity", "Masthead"]
