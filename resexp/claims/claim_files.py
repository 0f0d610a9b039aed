"""Files of claims: an expectation each, with its text, its words in their own language, and where they stand."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, field_validator

from resexp import config
from resexp.config import ConfigError, Expectation
from resexp.config.parsing import did_you_mean, read_document
from resexp.config.types import Model

FOLDER = Path(__file__).parent


class Claim(Model):
    """text: the claim in a sentence. quotation: the source's own words, in its `language`. expect: what it comes to here."""

    text: str
    expect: str
    quotation: str | None = None
    language: str = "en"
    source: str = ""

    @field_validator("expect")
    @classmethod
    def _readable(cls, text: str) -> str:
        try:
            config.parse_expectation(text)
        except ConfigError as error:
            raise ValueError(error.problem) from None
        return text

    @property
    def expectation(self) -> Expectation:
        return config.parse_expectation(self.expect)


class Document(Model):
    """A file: its source, the claims, and conditions (`at`) that all of them share."""

    source: str
    at: str = ""
    claims: Annotated[list[Claim], Field(min_length=1)]


def shipped() -> dict[str, Path]:
    """The files that come with resexp, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def is_file(source: str | Path) -> bool:
    """Whether that is a file, or the name of a shipped one."""
    try:
        return str(source) in shipped() or Path(source).is_file()
    except OSError:  # a whole expectation is too long for a name
        return False


def read(source: str | Path) -> list[Claim]:
    """The claims of a file, or of the shipped file of that name.

    Raises:
        ConfigError: a file that is missing or cannot be used, by name.
    """
    if not is_file(source):
        names = shipped()
        cure = "for an expectation write 'test_accuracy: identity > plain'"
        raise ConfigError(
            f"{source}: no such file of claims; shipped are {', '.join(names)}{did_you_mean(source, names)}; {cure}",
            where="--expect",
        )
    path = shipped().get(str(source), Path(source))
    try:
        document = Document.model_validate(read_document(path)[0])
        return [_whole(claim, document) for claim in document.claims]
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(first["msg"].removeprefix("Value error, "), key=key, where=str(path)) from None


def _whole(claim: Claim, document: Document) -> Claim:
    """The claim with its own conditions and those of its file, and with a source."""
    joint = f"{claim.expect}{', ' if ' at ' in claim.expect else ' at '}{document.at}" if document.at else claim.expect
    return Claim.model_validate({**claim.model_dump(), "expect": joint, "source": claim.source or document.source})
