"""Public data sets that `attnrec data get` can download, each from its publisher.

Addresses, file layouts, counts and checksums were taken from the publishers' pages and readme files and from public
code that reads these files. They were written down without a connection to the servers, so none was tried here. Sizes
of the Amazon files are estimates from the published counts. A checksum is listed only where the publisher gives one:
GroupLens, in a `.md5` file beside each archive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath

from attnrec.core.errors import InputError, nearest
from attnrec.data.public.amazon import AMAZON_2014, AMAZON_2018, AMAZON_2023
from attnrec.data.reading.form import ReadOptions

_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
_SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
_MCAULEY = "https://mcauleylab.ucsd.edu/public_datasets/data"
_MCAULEY_BEFORE = "https://datarepo.eng.ucsd.edu/mcauley_group/data"  # the older address of the same files


@dataclass(frozen=True)
class Source:
    """A file at the publisher.

    Attributes:
        urls: its addresses; if one does not have it, the next is tried.
        size: bytes, rounded or estimated.
        checksum: ``algorithm:hexadecimal digits`` as the publisher gives it, or None.
    """

    urls: tuple[str, ...]
    size: int
    checksum: str | None = None

    @property
    def filename(self) -> str:
        """The last part of the address."""
        return PurePosixPath(self.urls[0]).name


@dataclass(frozen=True)
class File:
    """A file of a data set: a downloaded source, or a member of one.

    Attributes:
        source: the source to download.
        member: its path in the archive; None if the source itself is the file.
        reading: how a file of interactions is laid out.
    """

    source: Source
    member: str | None = None
    reading: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True)
class Entry:
    """A data set of the catalogue.

    Attributes:
        name: as given to `attnrec data get`.
        family: data sets of one publisher and year, listed together.
        licence: in a few words.
        terms: the same in a sentence or two; the full terms are at ``page``.
        page: the publisher's page, with the full terms if there are any.
        citation: what the publisher asks to cite.
        interactions: the file of interactions; None if nothing can be downloaded directly (see ``by_hand``).
        items: the file of the items' titles.
        counts: numbers of ``users``, ``items`` and ``interactions`` before any filter, where published.
        by_hand: what to do if there is no direct download.
    """

    name: str
    family: str
    licence: str
    terms: str
    page: str
    citation: str
    interactions: File | None
    items: File | None
    counts: Mapping[str, int] = field(default_factory=dict)
    by_hand: str = ""

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources to download, each once, interactions first."""
        return tuple(dict.fromkeys(file.source for file in (self.interactions, self.items) if file))

    def members(self, source: Source) -> list[str]:
        """The members of an archive that are files of this data set."""
        return [
            file.member for file in (self.interactions, self.items) if file and file.member and file.source == source
        ]

    @property
    def size(self) -> int:
        """Bytes to download, roughly."""
        return sum(source.size for source in self.sources)


@cache
def catalogue() -> tuple[Entry, ...]:
    """All available data sets, family by family."""
    return (*_movielens(), *_amazon_2014(), *_amazon_2018(), *_amazon_2023(), _steam(), _yelp())


def find(name: str) -> Entry:
    """The data set of that name.

    Raises:
        InputError: there is none; the message suggests similar names.
    """
    known = {entry.name: entry for entry in catalogue()}
    if name in known:
        return known[name]
    family = name.partition(":")[0] + ":"
    near = [other for other in known if other.startswith(family)] or list(known)
    hint = nearest(name, near) or "; `attnrec data get` lists all of them"
    raise InputError(f"there is no public data set {name!r} in the catalogue{hint}")


def _movielens() -> list[Entry]:
    cited = (
        "F. Maxwell Harper and Joseph A. Konstan. The MovieLens Datasets: History and Context. "
        "ACM Transactions on Interactive Intelligent Systems 5(4), 2015. https://doi.org/10.1145/2827872"
    )
    by_place = ReadOptions(user_column="1", item_column="2", rating_column="3", time_column="4", header=False)
    by_name = ReadOptions(user_column="userId", item_column="movieId", time_column="timestamp")
    # the checksums are those of the publisher's file of the same name with .md5 at its end
    table = (
        ("ml-100k", 4_924_029, "0e33842e24a9c977be4e0107933c0723", (943, 1_682, 100_000), "u.data", "u.item"),
        (
            "ml-1m",
            5_917_549,
            "c4d9eecfca2ab87c1945afe126590906",
            (6_040, 3_900, 1_000_209),
            "ratings.dat",
            "movies.dat",
        ),
        ("ml-20m", 198_702_078, "cd245b17a1ae2cc31bb14903e1204af3", (138_493, 27_278, 20_000_263), "ratings.csv", ""),
        ("ml-32m", 238_950_008, "d472be332d4daa821edc399621853b57", (200_948, 87_585, 32_000_204), "ratings.csv", ""),
    )
    entries = []
    for name, size, digest, (users, items, interactions), ratings, names in table:
        source = Source((f"{_GROUPLENS}/{name}.zip",), size, f"md5:{digest}")
        older = name in ("ml-100k", "ml-1m")
        passing_on = "not to be passed on without permission" if older else "to be passed on only under the same terms"
        entries.append(
            Entry(
                name=name,
                family="MovieLens",
                licence="research; not commercial",
                terms=(
                    f"For research, with acknowledgement; {passing_on}; no commercial use without permission from "
                    "GroupLens; no claim that they endorse the work."
                ),
                page=f"{_GROUPLENS}/{name}-README.{'txt' if older else 'html'}",
                citation=cited,
                interactions=File(source, f"{name}/{ratings}", by_name if ratings == "ratings.csv" else by_place),
                items=File(source, f"{name}/{names or 'movies.csv'}"),
                counts={"users": users, "items": items, "interactions": interactions},
            )
        )
    return entries


_UNLICENSED = "none stated"
_AMAZON_TERMS = (
    "The publisher states no licence and asks for the citation below; the reviews came from Amazon, whose own "
    "conditions may apply to them. Settle with its authors any use beyond research."
)


_AMAZON = {
    2014: (
        "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
        "Ruining He and Julian McAuley. Ups and Downs: Modeling the Visual Evolution of Fashion Trends with "
        "One-Class Collaborative Filtering. WWW 2016.",
    ),
    2018: (
        "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/",
        "Jianmo Ni, Jiacheng Li and Julian McAuley. Justifying Recommendations using Distantly-Labeled Reviews "
        "and Fine-Grained Aspects. EMNLP 2019.",
    ),
    2023: (
        "https://amazon-reviews-2023.github.io/",
        "Yupeng Hou, Jiacheng Li, Zhankui He, An Yan, Xiusi Chen and Julian McAuley. Bridging Language and "
        "Items for Retrieval and Recommendation. arXiv:2403.03952, 2024.",
    ),
}
"""The publisher's page of each year, and what it asks to cite."""


def _amazon(year: int, category: str, interactions: File, items: File, counts: dict[str, int]) -> Entry:
    page, citation = _AMAZON[year]
    name, family = f"amazon-{year}:{category}", f"Amazon {year}"
    return Entry(name, family, _UNLICENSED, _AMAZON_TERMS, page, citation, interactions, items, counts)


def _amazon_2014() -> list[Entry]:
    ratings = ReadOptions(user_column="1", item_column="2", rating_column="3", time_column="4", header=False)
    return [
        _amazon(
            2014,
            category,
            # about 41 bytes a rating; 100 for titles is above the mean of the whole collection
            interactions=File(Source((f"{_SNAP}/ratings_{category}.csv",), 41 * count), reading=ratings),
            items=File(Source((f"{_SNAP}/meta_{category}.json.gz",), 100 * count)),
            counts={"interactions": count},
        )
        for category, (count,) in _counts(AMAZON_2014)
    ]


def _amazon_2018() -> list[Entry]:
    # item first, unlike 2014
    ratings = ReadOptions(item_column="1", user_column="2", rating_column="3", time_column="4", header=False)
    folders = (f"{_MCAULEY}/amazon_v2", f"{_MCAULEY_BEFORE}/amazon_v2")
    return [
        _amazon(
            2018,
            category,
            interactions=File(
                Source(tuple(f"{folder}/categoryFilesSmall/{category}.csv" for folder in folders), 41 * count),
                reading=ratings,
            ),
            items=File(
                Source(tuple(f"{folder}/metaFiles2/meta_{category}.json.gz" for folder in folders), 1_000 * items)
            ),
            counts={"items": items, "interactions": count},
        )
        for category, (items, count) in _counts(AMAZON_2018)
    ]


def _amazon_2023() -> list[Entry]:
    ratings = ReadOptions(user_column="user_id", item_column="parent_asin", time_column="timestamp")
    folders = (f"{_MCAULEY}/amazon_2023", f"{_MCAULEY_BEFORE}/amazon_2023")
    entries = []
    for category, (users, items, count) in _counts(AMAZON_2023):
        rated = tuple(f"{folder}/benchmark/0core/rating_only/{category}.csv.gz" for folder in folders)
        described = tuple(f"{folder}/raw/meta_categories/meta_{category}.jsonl.gz" for folder in folders)
        entries.append(
            _amazon(
                2023,
                category,
                # readers go through a table more than once, so it is unpacked; titles are read once, packed
                interactions=File(Source(rated, 21 * count), f"{category}.csv", ratings),
                # 1,200 bytes is what Books has an item; the items of Unknown are hardly described
                items=File(Source(described, (30 if category == "Unknown" else 1_200) * items)),
                counts={"users": users, "items": items, "interactions": count},
            )
        )
    return entries


def _steam() -> Entry:
    folder = f"{_MCAULEY}/steam"
    before = "https://cseweb.ucsd.edu/~wckang"
    reviews = Source((f"{folder}/steam_reviews.json.gz", f"{before}/steam_reviews.json.gz"), 1_300_000_000)
    games = Source((f"{folder}/steam_games.json.gz", f"{before}/steam_games.json.gz"), 3_000_000)
    fields = ReadOptions("literals", user_column="username", item_column="product_id", time_column="date")
    return Entry(
        name="steam",
        family="Steam",
        licence=_UNLICENSED,
        terms="The publisher states no licence and asks for the citation below; the reviews came from Steam.",
        page="https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
        citation="Wang-Cheng Kang and Julian McAuley. Self-Attentive Sequential Recommendation. ICDM 2018.",
        interactions=File(reviews, reading=fields),
        items=File(games),
        counts={"users": 2_567_538, "items": 15_474, "interactions": 7_793_069},
    )


def _yelp() -> Entry:
    page = "https://business.yelp.com/data/resources/open-dataset/"
    return Entry(
        name="yelp",
        family="Yelp",
        licence="academic use; a form",
        terms="For personal, educational and academic use, under an agreement that Yelp shows before the download.",
        page=page,
        citation="Yelp Open Dataset, " + page,
        interactions=None,
        items=None,
        counts={"users": 1_987_897, "items": 150_346, "interactions": 6_990_280},
        by_hand=(
            f"yelp has no direct download: fill in the form at {page}, unpack what it gives, then "
            "prepare its file yelp_academic_dataset_review.json (`attnrec prepare`)"
        ),
    )


def _counts(table: str) -> list[tuple[str, list[int]]]:
    """One category and its published numbers per line."""
    return [(name, [int(number) for number in numbers]) for name, *numbers in map(str.split, table.splitlines())]
