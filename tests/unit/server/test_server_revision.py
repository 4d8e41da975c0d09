"""From which sources a server was started."""

import subprocess

import pytest

from slfac.server.revision import source_revision


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "-q")
    file = tmp_path / "package" / "module.py"
    file.parent.mkdir()
    file.write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "Begin")
    return file


def test_a_commit_is_told_and_whether_files_differ_from_it(repository):
    clean = source_revision(repository)
    assert len(clean) == 12
    int(clean, 16)
    repository.write_text("x = 2\n")
    assert source_revision(repository) == f"{clean}-dirty"


def test_a_package_that_only_lies_in_a_repository_is_not_of_it(repository):
    installed = repository.parent / "installed.py"
    installed.write_text("")
    assert source_revision(installed) == ""


def test_without_git_or_a_repository_nothing_is_told(repository, tmp_path_factory, monkeypatch):
    lone = tmp_path_factory.mktemp("lone") / "module.py"
    lone.write_text("")
    assert source_revision(lone) == ""
    monkeypatch.setenv("PATH", "")
    assert source_revision(repository) == ""
