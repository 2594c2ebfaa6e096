"""What may stand beside a parameter's type in Annotated: checks of its value, its default, its look in a widget."""


class Validator:
    def validate(self, value):
        raise NotImplementedError

    def isSupportedType(self, t):
        return True


def _validator(name, fields, check):
    def __init__(self, *a):
        if len(fields) == 1 and fields[0].startswith("*"):
            a = (list(a[0]) if len(a) == 1 and isinstance(a[0], (list, tuple)) else list(a),)
        for f, v in zip(fields, a, strict=False):
            setattr(self, f.lstrip("*"), v)

    def validate(self, value):
        if not check(self, value):
            raise ValueError(
                f"{value!r} violates {name}({', '.join(repr(getattr(self, f.lstrip('*'))) for f in fields)})"
            )

    return type(name, (Validator,), {"__init__": __init__, "validate": validate})


WithinRange = _validator("WithinRange", ("minimum", "maximum"), lambda s, v: v is None or s.minimum <= v <= s.maximum)
Minimum = _validator("Minimum", ("minimum",), lambda s, v: v is None or v >= s.minimum)
Maximum = _validator("Maximum", ("maximum",), lambda s, v: v is None or v <= s.maximum)
NotNone = _validator("NotNone", (), lambda s, v: v is not None)
Choice = _validator("Choice", ("*choices",), lambda s, v: v in s.choices)


class Default:
    def __init__(self, value=None, generator=None):
        self.value, self.generator = value, generator


class Decimals:
    def __init__(self, value):
        self.value = value


class SingleStep(Decimals):
    pass
