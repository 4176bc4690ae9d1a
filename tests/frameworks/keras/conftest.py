"""Keras reads its backend when it is imported: that of the project that the tests run on."""

from workflow.config.compose import compose
from workflow.config.schema import plain
from workflow.launch import set_variables
from workflow.paths import CONF, ROOT

set_variables(plain(compose([], ROOT / CONF)))
