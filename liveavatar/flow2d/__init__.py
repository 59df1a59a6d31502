"""Flow matching in two dimensions, where every quantity has a closed form: for teaching, and to test ideas in seconds.

`mixture` has the exact velocity field of a Gaussian mixture and its paths, `measures` says how good what arrives is,
`students` distils networks of few steps. Noise levels, velocity and solvers are those of `liveavatar.sampler`.
"""

from liveavatar.flow2d.measures import Figures, distance, figures_of, find_knee, step_curve
from liveavatar.flow2d.mixture import Mixture, make_mixture, sample_path, start_noise
from liveavatar.flow2d.students import JOBS, METHODS, Distillation, Progress, Student, distil

__all__ = ["JOBS", "METHODS", "Distillation", "Figures", "Mixture", "Progress", "Student", "distance", "distil",
           "figures_of", "find_knee", "make_mixture", "sample_path", "start_noise", "step_curve"]
