from app.parts.lens.component import Lens, LensSide, Looks, TokenLens

__all__ = ["Lens", "LensSide", "Looks", "TokenLens"]
