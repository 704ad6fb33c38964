from app.parts.presenter.component import Presenter

__all__ = ["Presenter"]
