"""Figure 1 of the report, on one CPU core: what a skip is worth to a model trained from scratch.

    arms.py     which runs there are, and in which order
    crops.py    the images: rendered text and photographs, cut once
    run.py      one run, a pure function of (arm, model, seed, steps, rate)
    codecs.py   the linear codecs that any network has to beat
    report.py   tables and curves of the runs that are finished

`python -m benchmarks.ablation` makes runs, `python -m benchmarks.ablation.report` shows them.
"""
