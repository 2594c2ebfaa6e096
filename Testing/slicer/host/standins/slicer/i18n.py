"""Stand-in: context = file name (package.file inside a package), lookup through slicer.app.translate."""

import functools
import inspect
import pathlib
import re


def translate(context, text):
    import slicer

    app = getattr(slicer, "app", None)
    return app.translate(context, text) if app is not None else text


@functools.cache
def getContext(sourceFile):
    p = pathlib.Path(sourceFile)
    return f"{p.parent.name}.{p.stem}" if (p.parent / "__init__.py").is_file() else p.stem


def tr(text):
    if not isinstance(text, str):
        raise TypeError(f"_() wants a plain string literal, got {type(text).__name__}")
    out = translate(getContext(inspect.currentframe().f_back.f_code.co_filename), text)
    # Without a translation there are no fields to compare; a panel asks for thousands of texts.
    return out if out == text or _fields(out) == _fields(text) else text


def _fields(s):
    return set(re.findall(r"(?<!\{)\{([^{}]*)\}", s))
