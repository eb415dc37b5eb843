"""`evaluation.json`: the numbers of an evaluation and all that they depend on.

    {"format": 1,
     "manifest": {
       "hash": sha256 of the other entries but "software" and "machine", see `manifest.digest`,
       "model": {"name", "fingerprint", ...},
       "tokenizer": {"name", "fingerprint"},
       "task": {...},                 which tasks, of which files, measured how
       "settings": {...},             what else changes the numbers: sampling, candidates, shots
       "seeds": [...],
       "prompts": {task: ...},        which examples each prompt shows
       "inputs": {task: sha256},      of the pixels of all of its examples
       "software": {...}, "machine": {...}},
     "results": {task: {metric: {
       "unit", "better", "per_example",            as in `Metric`
       "model": {"mean", "standard_error", "values"},
       "best_by_likelihood": {...},                like "model"; both only of several candidates
       "best_by_oracle": {...},
       "baselines": {name: {"mean", "standard_error", "values",
                            "gain", "gain_standard_error", "beaten"}},
       "learned": true or false}}}}

"model" is the mean over candidates. "values" are those of the examples, seeds one after another,
null for a metric that is not per_example, as is its "standard_error"; so is that of one example.
"gain" is the mean of the paired differences, positive where the model is better. The ceiling (the
truth through the tokenizer) stands among the baselines; nobody need beat it. Metrics are in the
task's order, and what the first says of "learned" is the task's verdict. Two evaluations can be
compared where "task", "settings", "seeds", "prompts" and "inputs" are equal.
"""

FORMAT = 1
FILE = "evaluation.json"
CEILING = "ceiling"
