from app.parts.grid.component import Cell, Grid, GridData

__all__ = ["Cell", "Grid", "GridData"]
