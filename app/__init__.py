"""FitPrune Studio: the web app on top of `fitprune_core`."""
