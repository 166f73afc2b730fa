"""Where the parser that comes from npm is installed."""

from tests.setup.servers import PARSERS

POSTAL_MIME = PARSERS / "node_modules/postal-mime/dist/esm/postal-mime.js"
