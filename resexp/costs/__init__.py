"""Training costs: one step of each arm trained individually, and a whole execution plan."""

from resexp.costs.forecasts import Forecast, Pace, forecast
from resexp.costs.steps import Cost, measure, memory, room, stepper

__all__ = ["Cost", "Forecast", "Pace", "forecast", "measure", "memory", "room", "stepper"]
