"""Other renderers beside ours, on the same lines, fonts and photographs.

`python -m benchmarks.peers --install`, then `python -m benchmarks.peers SPEC.json`. A spec holds
pages whose lines are already laid out:

    {"width": 512, "height": 512, "language": "en", "pages": [
      {"background": "/abs/page.png", "lines": [
        {"text": "…", "x": 12, "y": 40, "size_px": 11, "font": "/abs/Font.ttf", "index": 0,
         "colour": [20, 20, 20]}]}]}

`background` is a PNG of the page's size, `x` the left pen position and `y` the baseline in px,
`size_px` the em. One page more than is to be measured serves as the warm-up.

Every peer lives in an environment of its own, since their pins conflict. So this file and
`measure.py` import the standard library alone: they are loaded in each of them.
"""

from benchmarks.peers.measure import PeerResult, install_peers, measure_peers

__all__ = ["PeerResult", "install_peers", "measure_peers"]
