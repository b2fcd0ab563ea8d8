"""The public names, each imported when it is first used: `import atlasae` takes no time."""

from .codecs.arrays import Codec as Codec
from .codecs.model import load_model as load_model
from .compression.compress import compress_file as compress_file
from .compression.decompress import decompress_file as decompress_file
from .compression.plan import Options as Options
from .compression.tree import open as open
from .compression.verify import check_file as check_file
from .compression.verify import verify_file as verify_file
from .errors import AtlasaeError as AtlasaeError
from .errors import DamagedFileError as DamagedFileError
from .errors import UserError as UserError
from .jets.precision import Precision as Precision
from .pages import __version__ as __version__
from .reports.description import info as info
from .reports.evaluation import evaluate as evaluate
from .reports.figures import plot as plot
from .training.recipes import read_recipe as read_recipe
from .training.train import train as train
