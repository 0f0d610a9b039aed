"""What training costs: a step of each arm alone, and a whole plan."""

from resexp.costs.forecasts import Forecast, Pace, forecast
from resexp.costs.steps import Cost, measure, memory, room, stepper

__all__ = ["Cost", "Forecast", "Pace", "forecast", "measure", "memory", "room", "stepper"]
