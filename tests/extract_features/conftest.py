"""What the tests of extract-features share: two videos, their flow and their features."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.sources import Source
from pipeline.stage_one.networks import Networks
from tests.extract_features.material import Extract, material


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory).videos


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    return material(tmp_path_factory).sources


@pytest.fixture(scope="session")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory).flow


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material(tmp_path_factory).made


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    return material(tmp_path_factory).networks


@pytest.fixture(scope="session")
def extract(tmp_path_factory: pytest.TempPathFactory) -> Extract:
    return material(tmp_path_factory).extract
