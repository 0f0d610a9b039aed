"""Claims files: each claim has a hypothesis, a text, a source, and optionally a quotation in its original language."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator

from resexp import config
from resexp.config import ConfigError, Expectation
from resexp.config.parsing import did_you_mean, read_document
from resexp.config.types import Model

FOLDER = Path(__file__).parent


class Claim(Model):
    """text: the claim in one sentence. quotation: text of the source, in `language`. expect: the claim as a hypothesis."""

    text: str
    expect: str
    quotation: str | None = None
    language: str = "en"
    source: str = ""

    @field_validator("expect")
    @classmethod
    def _parses(cls, text: str) -> str:
        try:
            config.parse_expectation(text)
        except ConfigError as error:
            raise ValueError(error.problem) from None
        return text

    @property
    def expectation(self) -> Expectation:
        return config.parse_expectation(self.expect)


class Document(Model):
    """A claims file: its source, its claims, and the conditions (`at`) that all claims share."""

    source: str
    at: str = ""
    claims: Annotated[list[Claim], Field(min_length=1)]

    def completed(self, claim: Claim) -> Claim:
        """The claim with the conditions and the source of this file."""
        expect = f"{claim.expect}{', ' if ' at ' in claim.expect else ' at '}{self.at}" if self.at else claim.expect
        return Claim.model_validate({**claim.model_dump(), "expect": expect, "source": claim.source or self.source})


def shipped() -> dict[str, Path]:
    """The shipped claims files, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def is_file(source: str | Path) -> bool:
    """Whether `source` is a file or the name of a shipped claims file."""
    try:
        return str(source) in shipped() or Path(source).is_file()
    except OSError:  # the text of a hypothesis can be too long for a file name
        return False


def read(source: str | Path) -> list[Claim]:
    """The claims of a file, or of the shipped file with that name.

    Raises:
        ConfigError: a missing or invalid file; the message names it.
    """
    if not is_file(source):
        names = shipped()
        example = "a hypothesis looks like 'test_accuracy: identity > plain'"
        raise ConfigError(
            f"{source}: no such claims file; shipped: {', '.join(names)}{did_you_mean(source, names)}; {example}",
            where="--expect",
        )
    path = shipped().get(str(source), Path(source))
    try:
        document = Document.model_validate(read_document(path)[0])
        return [document.completed(claim) for claim in document.claims]
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(first["msg"].removeprefix("Value error, "), key=key, where=str(path)) from None
