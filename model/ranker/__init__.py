"""Stage two: from the fused maps of a video to its skill score.

The equations, numbered here in the order of the paper's method section (Li, Huang, Cai and Sato,
"Manipulation-skill assessment from videos with spatial attention network", ICCV Workshops 2019,
arXiv:1901.02579) and cited by these numbers in the code:

1. x̄_t = AvgPool(X_t) + MaxPool(X_t)
2. c_t = [LN(x̄_t); LN(h_task_{t−1})]
3. h_att_t = GRU(c_t, h_att_{t−1})
4. a_{i,t} = w_aᵀ tanh(W_xa x_{i,t} + b_xa + W_ha h_att_t + b_ha)
5. α_t = softmax_i(a_{i,t})
6. v_t = Σ_i α_{i,t} x_{i,t}
7. h_task_t = GRU(v_t, h_task_{t−1})
8. S = w_Sᵀ h_task_N + b_S
9. loss = mean over pairs of max(0, margin − S_better + S_worse)

Differs from the paper: both hidden states start at zero, because the published normal draw,
repeated at every scoring, moves scores by 5 % of their spread and flips pairs; the draw remains as
`initial_hidden="normal"`. The LayerNorms (LN) are in the authors' code, not in their equations.

In: the maps of many videos (`videos.py`) and pairs (better, worse). Out: scores and attention.
Open `variants/full.py` first: it is that model on `recurrent.py` and `attention.py`; every other
module of `variants` replaces one part of it, or is a published rival on the same maps. A new
variant is a module there, its line in `build.py` and its name in `options.py`. `training.py` fits
a ranker, `joint.py` ConvFusion with it, `scoring.py` scores videos.
"""
