"""The pure core of sweeps (hyperparameter searches): specs, samplers, schedulers, importance. It knows no database.

A sweep is a function of rows: earlier trials -> the next parameters (`sampling`) and the next decision (`scheduling`).
The same trials give the same result in any process and after any restart. Only the functions that need Optuna, SciPy
or scikit-learn import them.
"""
