"""How far work has come, as every resource that does some shows it."""

from pydantic import BaseModel


class Progress(BaseModel):
    """How far the step that is running has come."""

    step: str
    done: int
    total: int
    eta_seconds: float | None
