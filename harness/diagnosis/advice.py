"""What usually stands behind a failure of a check that compares no gradients with exact ones, and what to write instead.

Such a failure has no numbers to match against known mistakes: its check and its code are all there is to go by, so what is
said here is where to look first, with a score that says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from bptt.harness.subject import CELL_METHODS, NETWORK_METHODS
from bptt.reports.records import Cause

_SCORE = 0.5
_CELL = "; ".join((*CELL_METHODS.values(), "backward(params, xs, state, dys, dfinal) -> dparams, dxs, dstate"))
_NETWORK = "; ".join(NETWORK_METHODS.values())
_KEPT = "something is kept between calls: an attribute, a cache or a buffer that is not made anew"
_FRESH = "make every buffer inside the call: np.zeros_like(W), not self.dW from the call before; draw no random numbers in it"
_REUSED = "the arrays of one call are used again for the next, or changed once they were handed on"
_NEW_ARRAYS = "new arrays at the start of each call: np.zeros_like(W), np.empty_like(x); a copy of what is changed in place"
_COPY_OF_GRADIENT = "dh = dys[t] + dh_next instead of dys[t] += dh_next"

#: (check, code of its finding) -> (what it is likely to be, what to do)
ADVICE: Mapping[tuple[str, str], tuple[str, str]] = {
    ("OPT300", "BUG"): (
        "an option that should change the speed alone changes the numbers",
        "compare what both ways do at the first and the last step, and with masks: the loop and the unrolled steps are one formula",
    ),
    ("OPT310", "BUG"): (
        "a combination of options, or a mask, takes another way through the code, which does something else",
        "at a masked step the state stays and the output is that of the step before; a mask is turned around with the inputs",
    ),
    ("CON100", "BUG"): (
        "init draws parameters that are not finite",
        "look for a division by a fan-in of zero, a log or root of a negative number, or np.empty that is never filled",
    ),
    ("CON100", "CONTRACT"): ("init or zero_state return something of another form", _CELL),
    ("CON110", "CONTRACT"): (
        "outputs or final state come in another layout: the batch before time, the last step only, states under other names, or without "
        "the axis of a batch of one, which a squeeze() took away",
        "ys has one output a step, (T, N, H); the final state has the names and shapes that zero_state gives",
    ),
    ("CON112", "MUTATION"): (
        "zero_state hands out one array at every call, and run writes into it",
        "np.zeros(...) inside zero_state; h = h.copy() before h *= ..., h += ... or h[:] = ... in run",
    ),
    ("CON112", "BUG"): ("the state that a sequence starts from is not zero", "np.zeros((N, H)) for every state"),
    ("CON120", "CONTRACT"): (
        "an array is made in a dtype of its own",
        "np.zeros(shape, dtype=xs.dtype) (torch: dtype=x.dtype, no .float()), so that outputs have the dtype of the inputs",
    ),
    ("CON130", "BUG"): (
        "an exponential overflows, or something is divided by zero",
        "branch on the sign of a in the sigmoid; subtract the maximum before a softmax; add an eps under a root or a division",
    ),
    ("CON140", "CONVENTION"): (
        "its forward pass writes into its own weights, as a constraint does",
        "hold them to it after the step of the optimiser, or use a copy: u = self.u.clamp(-limit, limit), whose gradient is zero beyond it",
    ),
    ("CON140", "MUTATION"): ("run writes into its input", "h = h.copy() before h *= ..., h += ... or h[:] = ..."),
    ("CON150", "NONDETERMINISTIC"): (_KEPT + ", or random numbers are drawn", "let h start from the state that is handed in; " + _FRESH),
    ("CON152", "MUTATION"): (
        "run returns a view of a buffer that the next call writes into",
        "return ys.copy() (torch: .clone()), or make the buffer anew in each call",
    ),
    ("CON155", "BUG"): (
        "the state of the sequence before is kept, although the class says that it is not stateful",
        "self.h, self.c = None at the start of each forward pass unless stateful",
    ),
    ("CON160", "MUTATION"): (_REUSED, _NEW_ARRAYS),
    ("CON160", "NONDETERMINISTIC"): (_KEPT, _FRESH),
    ("CON160", "CONTRACT"): (
        "backward does not return what it should, or raises: a cache of the forward pass may be missing",
        "backward(params, xs, state, dys, dfinal) -> dparams, dxs, dstate, each dict by the names of params and state",
    ),
    ("CON165", "MUTATION"): ("backward writes into its input", f"dh = dh.copy() before dh *= ... or dh += ...: {_COPY_OF_GRADIENT}"),
    ("CON170", "BUG"): (
        "a division by zero or an overflow in backward",
        "take derivatives from values, s * (1 - s) and 1 - h**2, and divide by nothing that a gate can make zero",
    ),
    ("CON170", "CONTRACT"): (
        "a gradient has another shape or name than what it is the gradient of",
        "dX has the shape of X: sum a bias's gradient over the batch, da.sum(axis=0), and mind the order of a product: x.T @ da",
    ),
    ("CON172", "BUG"): (
        "some gradients are written with +=, others with =",
        "self.dW[...] = 0 before the loop and += inside it for every parameter, or = for every one",
    ),
    ("CON180", "CONTRACT"): ("backward leaves gradients out", "return one gradient a parameter, dxs, and one a state"),
    ("CON190", "BUG"): (
        "the code reads memory in an order of its own: reshape, ravel, view or a pointer that takes arrays for contiguous ones",
        "np.ascontiguousarray(a) first (torch: .contiguous(), or .reshape in the place of .view), or index along named axes",
    ),
    ("CON192", "BUG"): (
        "a forward pass leaves what its backward needs where the next forward pass writes: an attribute, a global or a shared buffer",
        "ctx.save_for_backward(...) in a torch.autograd.Function, and no self.cache or module-level cache between forward and backward",
    ),
    ("CON194", "BUG"): (
        "backward mixes up its gradients, or leaves some out, where ctx.needs_input_grad is False for an input",
        "return one gradient or None an input, in the order of forward's arguments; test ctx.needs_input_grad for each by itself",
    ),
    ("CON196", "NONDETERMINISTIC"): (
        "backward works in place on tensors that forward has saved: zero_(), mul_(), copy_() or out= on a saved tensor",
        "work on a copy: dh = saved.clone() before any in-place operation",
    ),
    ("CON200", "BUG"): (
        "a logarithm of zero, or an exponential that overflows in the softmax",
        "subtract the maximum before exp; log-softmax in one: a - max - log(sum(exp(a - max)))",
    ),
    ("CON200", "CONTRACT"): ("loss does not return what it should, or raises", _NETWORK),
    ("CON210", "MUTATION"): ("loss writes into its input", "W = W - lr * dW belongs outside of loss; copy before *=, += and [:] ="),
    ("CON210", "NONDETERMINISTIC"): (_KEPT, _FRESH),
    ("CON210", "BUG"): (_KEPT, _FRESH),
    ("CON220", "CONTRACT"): ("loss leaves gradients out", "return one gradient a parameter in dparams"),
    ("GRD142", "BUG"): (
        "the forward pass cuts what goes into a gate, or what comes out of it, and backward knows nothing of the cut; or a derivative "
        "is not taken from the values that the forward pass has used",
        "no gradient where np.clip has cut; else s * (1 - s) and 1 - h * h from values, which are 0 at shut gates",
    ),
    ("GRD240", "BUG"): (
        "without masks every gradient is right: backward leaves a mask out, or multiplies by another than forward did",
        "dh *= mask where h was multiplied by it, and the masked h in the product for dU: dU += (mask * h).T @ da",
    ),
    ("GRD145", "BUG"): (
        "the error of a step goes back another number of steps than truncation says: its largest lag, k + 1 terms",
        "range(t, max(t - k - 1, -1), -1): from step t back to step t - k",
    ),
    ("GRD180", "BUG"): (
        "the path back through time is cut, scaled or duplicated at these lags: a chunk, a window, a buffer or a tile of that length",
        "look for a constant near these lags in backward (truncation window, chunk or tile size), and for an index or a state at its edges",
    ),
    ("GRD230", "BUG"): (
        "a factor, a term or a path is in one gradient and not in the others: a mean for a sum, a detached value, a forgotten derivative",
        "derive the gradient named here again; where the checks against the forward pass agree, look at where backward branches on values",
    ),
    ("LIN100", "BUG"): (
        "gradients do not start from zero: those of an earlier call, or a share that does not come from dys or dfinal, are in them",
        "dW = np.zeros_like(W) at the start of backward; no weight decay and no loss inside it",
    ),
    ("LIN110", "BUG"): (
        "backward does more than multiply and add its cotangents: a clip, a norm, a rounding or a test on dys or dh",
        "clip outside of backward, or say clip = c (clip_norm = c) where it is meant; do not skip steps where dys is small or zero",
    ),
    ("LIN120", "CONTRACT"): (
        "gradients are cut, but not as clip or clip_norm says: another threshold, each entry in the place of the norm, or not at all",
        "say the threshold and the kind of cut that backward makes, or make the one that is said",
    ),
    ("GRD142", "PRECISION_LOSS"): (
        "at inputs this large a small difference of large numbers is taken, as of sums of logarithms, or a value on the way is narrower",
        "subtract before the sum rather than after it; look for casts to a narrower dtype. Where no input is this large, nothing is lost",
    ),
    ("GRD195", "CONTRACT"): (
        "a layer that is made and never called, a bias before another bias or before a normalisation, a gate that is multiplied by zero, a "
        "softmax over one entry",
        "use it or take it out; where it has none at this size or with these options alone, nothing is wrong",
    ),
    ("NUM100", "PRECISION_LOSS"): (
        "a value on the way has a lower precision than the inputs",
        "look for astype(np.float32), .float(), .half(), torch.autocast, and arrays or constants made without a dtype in torch",
    ),
    ("NUM310", "PRECISION_LOSS"): (
        "a sum over the steps is kept in the short type of the arrays",
        "torch.zeros(..., dtype=torch.float32) for the sum, and .to(the short type) once, behind the loop",
    ),
    ("NUM320", "PRECISION_LOSS"): (
        "what one step hands to the next is shortened: small contributions to a large state are lost, the more the longer it remembers",
        "keep the state, or the gradient that goes back, in float32 between steps; shorten what is returned or stored, once",
    ),
    ("NUM130", "BUG"): (
        "there is a branch on the dtype, a kernel or a constant of its own for float32",
        "one way for every dtype; look for a test on dtype, an eps or a cast in it",
    ),
    ("NUM130", "PRECISION_LOSS"): (
        "where it is given float32 it makes a value on the way narrower than that",
        "look for casts to float16 or bfloat16, torch.autocast, and a compute dtype of its own",
    ),
    ("NUM150", "PRECISION_LOSS"): (
        "in its own dtype the object makes a value on the way narrower than what it was given",
        "look for casts to a narrower dtype, torch.autocast, a compute dtype, and float64 that a framework turns to float32",
    ),
    ("NUM150", "CONTRACT"): (
        "the object takes another way in its own dtype, or with its own options, than its formula does",
        "hold that way against the formula in float64; look for a test on dtype, a kernel of its own, and a dtype that is set by default",
    ),
    ("NUM110", "BUG"): (
        "exp of something large: infinity over infinity in exp(a) / (1 + exp(a)), a tanh of exponentials or a softmax of exp(a) as it is; "
        "exponential gates without their running maximum; a sum of logarithms that does not cancel; or 0 / 0 of shut gates, f / (f + i)",
        "np.tanh or torch.tanh; 0.5 * (1 + tanh(a / 2)) for a sigmoid; exp(a - a.max()) in a softmax; exp(i - m) and exp(f + m_before - m) "
        "with m = max(f + m_before, i) for exponential gates; a share of two gates from the difference of their logarithms",
    ),
    ("NUM120", "PRECISION_LOSS"): (
        "f * (1 - f) and 1 - h * h from the rounded values: near 1 the difference has few digits left",
        "take the derivative from the pre-activation: s(a) * s(-a) for a sigmoid, 4 * q / (1 + q)**2 with q = exp(-2 * abs(a)) for tanh",
    ),
    ("TIM100", "BUG"): (
        "something of the past is not in the state, or depends on where a sequence starts or ends",
        "start from the state that is handed in, return the last step's state, and treat no step apart (t == 0, t == T - 1, t % k)",
    ),
    ("TIM105", "BUG"): (
        "something of the past is not in the state, or depends on where a sequence starts or ends",
        "start from the state that is handed in, return the last step's state, and treat no step apart (t == 0, t == T - 1, t % k)",
    ),
    ("TIM110", "BUG"): (
        "output t reads an input later than t: a backward direction, a shift by one, a softmax over time, a view that takes batch for time",
        "use xs[t] and h_(t-1) only; swap axes by transpose, not view; no average or reversal over time; bidirectional=True if meant",
    ),
    ("TIM120", "BUG"): (
        "the state that is handed in is not used: run makes its own, of zeros or from the call before",
        "h = state['h'] before the first step (torch: hand hx on to the cell), not np.zeros((N, H))",
    ),
    ("TIM130", "BUG"): (
        "something is divided by T or N, or set before the loop over time, which then never runs",
        "state and its gradient start as what is handed in, sums start at zero, and a mean over the batch or over time belongs to the loss",
    ),
    ("TIM140", "BUG"): (
        "one direction has another formula: a gate or a product on the other side, another activation, weights or a bias of the other one",
        "one cell for both, handed the weights of its direction; what is meant so says it: exempt = {'directions': 'why'}",
    ),
    ("BAT100", "BUG"): (
        "an average, a norm or a reshape over the batch axis mixes rows",
        "normalise over the last axis, axis=-1; reshape (T, N, D) to (T * N, D) and not to (N * T, D); transpose, do not reshape",
    ),
    ("TIM200", "BUG"): (
        "a backward direction, a look at the whole sequence, or targets shifted the wrong way let the network see what it has to predict",
        "one direction only; targets[t] = inputs[t + 1]; attention over the past only. It would reach perplexity 1 and generate nonsense",
    ),
    ("BAT200", "BUG"): (
        "an average, a norm or a reshape over the batch axis mixes rows",
        "normalise over the last axis, axis=-1; transpose (N, T) to (T, N), do not reshape or view it",
    ),
    ("LEN100", "BUG"): (
        "with lengths another way through the code is taken, and it computes something else",
        "mask the state where t >= length, and leave all else as it is",
    ),
    ("LEN110", "BUG"): (
        "padding is read: the backward direction starts in it, or the state goes on through it",
        "state = np.where(t < lengths, new, old); turn only the first `length` steps of each row around for the backward direction",
    ),
    ("LEN120", "BUG"): (
        "the last state is that of step T - 1, or the backward direction starts at T - 1 and not at the last valid step",
        "state = np.where(t < lengths[:, None], new, old) at every step, one length for each row; reverse the valid steps only",
    ),
    ("LEN130", "BUG"): (
        "the gradient goes on through the padding, or the gradient of a masked step is not masked",
        "where a step is padding: dstate passes unchanged, dx = 0, and nothing is added to dW",
    ),
    ("OPT100", "BUG"): (
        "the mask is not scaled by 1/(1-p), is drawn once and kept, or has another share of zeros than its scale says",
        "mask = (rng.random(shape) >= p) / (1 - p), anew for every call and step",
    ),
    ("OPT100", "CONVENTION"): (
        "one mask for all steps (variational dropout) or all rows; dropout between layers draws one anew for each",
        "mask = (rng.random((T, N, H)) >= p) / (1 - p), unless it is meant",
    ),
    ("OPT120", "BUG"): (
        "evaluation still drops, or scales by 1 - p although the masks of training are scaled by 1/(1-p) already",
        "with inverted scaling nothing happens in evaluation: return x",
    ),
    ("OPT110", "BUG"): (
        "the mask of the last training call is kept and used where there is none",
        "hand the mask from forward to backward, None in evaluation, and keep it on no object",
    ),
    ("TIM210", "BUG"): (
        "the targets are not the sequence shifted by one",
        "x, y = words[:-1], words[1:]",
    ),
    ("TRN100", "CONTRACT"): (
        "names or shapes are not those that were handed in, or a number is not finite",
        "one array a name, of the shape that it was given; one number for a measure",
    ),
    ("TRN110", "MUTATION"): (
        "what was handed in is written into on the way to the result",
        "g = g * scale in the place of g *= scale, on what is not the part's to change",
    ),
    ("TRN120", "NONDETERMINISTIC"): (
        "averages are kept on the class or in a default argument, and shared by all objects; or random numbers come from np.random",
        "self.v = {} in __init__; rng.random(shape) with the generator that is handed in",
    ),
    ("TRN130", "CONTRACT"): (
        "a NumPy number in float64 (a norm, np.sqrt of a correction) makes the product float64",
        "float(norm) before it multiplies an array, or .astype(g.dtype) at the end",
    ),
    ("TRN130", "PRECISION_LOSS"): (
        "squares of float32 are added up in float32, or overflow",
        "add squares up in float64: np.sum(g * g, dtype=np.float64)",
    ),
    ("TRN200", "CONTRACT"): ("it raises, or gives something else, where nothing is to be clipped", "return the gradients as they are"),
    ("TRN210", "CONTRACT"): ("it raises, or gives something else, where gradients are large", "g * (theta / norm), one array a name"),
    ("TRN220", "CONTRACT"): (
        "a division by a norm of zero raises where the norm is a plain Python number",
        "if norm > theta: around the division",
    ),
    ("TRN300", "CONTRACT"): ("it raises, or gives something else, in its first step", "make averages of zeros for a name that is new"),
    ("TRN310", "CONTRACT"): ("it raises, or gives something else, after its first step", "keep averages by the name of a parameter"),
    ("TRN320", "CONTRACT"): (
        "it raises where the names come in another order: averages belong to places",
        "self.v[name], not self.v[k] with k from enumerate",
    ),
    ("TRN330", "CONTRACT"): ("it raises where the learning rate has changed", "read self.lr in step, and nowhere else"),
    ("TRN340", "CONTRACT"): (
        "a division by zero raises where numbers are plain Python ones",
        "add epsilon to what is divided by: np.sqrt(v) + eps",
    ),
    ("TRN400", "CONTRACT"): ("it raises, or gives no number", "float(np.exp((losses * counts).sum() / counts.sum()))"),
    ("TRN410", "CONTRACT"): ("it raises, or gives no number", "float(np.exp((losses * counts).sum() / counts.sum()))"),
    ("TRN500", "CONTRACT"): ("it raises, or gives a mask of another shape", "(rng.random(shape) >= p) / (1 - p)"),
    ("TRN510", "BUG"): (
        "a mask is drawn once and kept",
        "draw it anew in every call, from the generator that is handed in",
    ),
    ("TRN600", "CONTRACT"): ("it raises, or gives no number", "return the next learning rate after every evaluation"),
    ("BAT110", "BUG"): (
        "backward mixes rows, or gives a mean over the batch where the sum is wanted",
        "db += da.sum(axis=0), not .mean(axis=0), without / N; multiply dh row by row",
    ),
    ("CON300", "CONTRACT"): (
        "an array has its axes in another order than the layout says, an axis of size one is dropped, or a final state is left out",
        "transpose to what the layout says; a[:, None] or keepdims=True in the place of squeeze(); one final state for each of zero_state",
    ),
    ("CON300", "BUG"): (
        "a decay is divided by, or its logarithm is added up over a chunk and taken to exp() with the wrong sign: it overflows",
        "exp(g_t - g_s) from the difference of the sums of log decays, which is at most 0, in the place of exp(g_t) / exp(g_s)",
    ),
    ("CON310", "MUTATION"): (
        "run or backward writes into an input, a state or a cotangent",
        "dS = dS.copy() before dS *= ... or dS += ...; in a kernel, another buffer for what it stores than for what it loads",
    ),
    ("CON320", "MUTATION"): (_REUSED, _NEW_ARRAYS),
    ("CON320", "NONDETERMINISTIC"): (
        _KEPT + "; or gradients are added to a buffer that is not zeroed, or in an order that differs from call to call (atomics)",
        "zeros in the place of empty for what is added to; deterministic = False where the order of a sum is meant to be free",
    ),
    ("CON330", "BUG"): (
        "memory is read in an order of its own: strides are not looked at, as of the gradient of a sum, which has stride 0",
        "np.ascontiguousarray(dy) first (torch: dy.contiguous()), or hand strides to the kernel; ValueError for a layout that is refused",
    ),
    ("CON340", "BUG"): (
        "where there is no initial state, or no cotangent of the final one, another way through the code is taken, which leaves out more",
        "zeros where None is given, and one way for both; test each None by itself: no S_0 says nothing about the cotangent of S_T",
    ),
    ("CON350", "CONTRACT"): (
        "backward gives no gradient for an array of numbers",
        "dparams, dinputs, dstate by the names of the arrays, one gradient for each; zeros where nothing depends on it",
    ),
    ("LIN300", "BUG"): (
        "backward does more than multiply and add its cotangents: a clip, a norm, a rounding, a buffer that is not zeroed, or a path "
        "that is taken only where outputs and final states both have one",
        "clip outside of backward; gradients start from zeros; dS = dS_T whether or not dy is zero",
    ),
    ("TIM300", "BUG"): (
        "the initial state is not used, is used by some lengths only, or the final state is not that of the last step",
        "S = S_0 before the first chunk; return S after the last one, and after the rows of a last chunk that is not full",
    ),
    ("TIM310", "BUG"): (
        "output t reads a step later than t: the mask within a chunk is of the wrong triangle or off by one, or the sum is over the chunk",
        "np.tril(q @ k.T) within a chunk, the state from before the chunk for all that is earlier; exempt = {'causal': reason} if meant",
    ),
    ("TIM320", "BUG"): (
        "step is another recurrence than run: a scale, a decay or a normalisation is in one of them, or in another order",
        "write one step as the layout's equation has it, and hold both to it: first the decay, then what is added, then the output",
    ),
    ("TIM330", "BUG"): (
        "the gradient of the initial state, or the cotangent of the final one, is wrong at the lengths or sizes of these parts",
        "dS = dS_T before the last step, dS_0 = dS after the first one, with the first step's decay",
    ),
    ("BAT300", "BUG"): (
        "rows share what is each one's own (the first row's state, an offset without the row), or parameters get the mean over them",
        "an index of the batch in every offset; gradients of parameters summed over rows, .sum(axis=0), not .mean(axis=0)",
    ),
    ("LEN300", "BUG"): (
        "padding is read: the state goes on behind the end of a row",
        "S = np.where(t < lengths, new, S), a decay of one and nothing added behind the end",
    ),
    ("LEN310", "BUG"): (
        "the state, or its gradient, runs on over the border of two packed sequences; or a chunk lies over one",
        "start anew at every offset, forward and backward, and cut chunks within a sequence: its last one may not be full",
    ),
    ("LEN310", "CONTRACT"): (
        "packed names no vector of cumulative lengths among the inputs",
        "packed = 'offsets', and inputs() gives offsets = np.array([0, ..., T]), whole numbers that grow",
    ),
}
#: Checks whose advice on CONTRACT is true of whatever is raised, and those where it is true of a division by zero alone.
_RAISING = frozenset({"TRN200", "TRN210", "TRN300", "TRN310", "TRN320", "TRN330", "TRN400", "TRN410", "TRN500", "TRN600"})
_DIVIDING = frozenset({"TRN220", "TRN340"})
#: For codes that mean the same whichever check found them.
ANYWHERE: Mapping[str, tuple[str, str]] = {
    "CONTRACT": ("the code raises, or returns something of another form than it should", _CELL),
    "MUTATION": ("an input is written into", "copy before *=, += and [:] ="),
    "NONDETERMINISTIC": (_KEPT, _FRESH),
    "PRECISION_LOSS": ADVICE["NUM100", "PRECISION_LOSS"],
}


def causes_of(check_id: str, finding_code: str) -> tuple[Cause, ...]:
    """The likely cause of a failure by its check and code alone; () where these say nothing, as of a wrong gradient."""
    found = ADVICE.get((check_id, finding_code)) or ANYWHERE.get(finding_code)
    if found is None:
        return ()
    hypothesis, fix = found
    return (Cause(f"{check_id}-{finding_code}".lower().replace("_", "-"), hypothesis, "", _SCORE, fix),)


def cause_of_raising(check_id: str, error: BaseException | None) -> Cause:
    """The likely cause where the subject's own code raises `error` in a check, which for most checks is known by its line alone."""
    if check_id in _RAISING or (check_id in _DIVIDING and isinstance(error, ZeroDivisionError)):
        (cause,) = causes_of(check_id, "CONTRACT")
        return cause
    return Cause("raises", "its own code raises at this case", "", _SCORE, "the line and the error are in the headline; the case is below")
