"""The public names, each imported when it is first used: `import atlasae` takes no time."""

from .encoding import Codec as Codec
from .errors import AtlasaeError as AtlasaeError
from .errors import DamagedFileError as DamagedFileError
from .errors import UserError as UserError
from .learning import train as train
from .model import load_model as load_model
from .pipeline import compress_file as compress_file
from .pipeline import decompress_file as decompress_file
from .planning import Options as Options
from .precision import Precision as Precision
from .reading import open as open
from .recipes import read_recipe as read_recipe
from .verification import check_file as check_file
from .verification import verify_file as verify_file
