from app.parts.curves.component import Curve, Curves, CurvesData, curve_of, recipes_of

__all__ = ["Curve", "Curves", "CurvesData", "curve_of", "recipes_of"]
