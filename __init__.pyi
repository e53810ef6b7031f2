from .color_transform import ColorTransform as ColorTransform
from .color_transform import fit_transform as fit_transform
from .color_transform import load_cube as load_cube
from .histogram_matching import HistogramMatching as HistogramMatching
from .histogram_matching import apply_transfer as apply_transfer
from .histogram_matching import cumulative_distribution as cumulative_distribution
from .histogram_matching import histogram as histogram
from .histogram_matching import transfer_function as transfer_function
from .matching import match_images as match_images
from .matching import specify_images as specify_images
from .methods.table import COLOR_SPACES as COLOR_SPACES
from .methods.table import METHODS as METHODS
from .methods.targets import LinearStretch as LinearStretch
from .methods.targets import Normal as Normal
from .methods.targets import Specified as Specified
from .methods.targets import Uniform as Uniform
from .pil_images import match_pil as match_pil
from .plots.histogram_plot import plot_histograms as plot_histograms
from .reference_histogram import ReferenceHistogram as ReferenceHistogram
from .training.augmentation import HistogramMatchingTransform as HistogramMatchingTransform
from .training.color_matching import ColorMatching as ColorMatching
from .training.distributed import pooled_histogram as pooled_histogram
from .training.losses import HistogramLoss as HistogramLoss
from .training.losses import SlicedHistogramLoss as SlicedHistogramLoss
from .training.losses import histogram_loss as histogram_loss
from .training.losses import sliced_histogram_loss as sliced_histogram_loss
from .training.parametric import ParametricHistogramMatching as ParametricHistogramMatching

__version__: str

async def comfy_entrypoint() -> object: ...
