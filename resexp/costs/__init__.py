"""Training costs: one step of each arm trained individually, and a whole execution plan."""

from resexp.costs.forecasts import Forecast, Pace, forecast
from resexp.costs.steps import measure, memory, oom_advice, seconds_of, stepper
