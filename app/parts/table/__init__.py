from app.parts.table.component import Sum, Table, TableData

__all__ = ["Sum", "Table", "TableData"]
