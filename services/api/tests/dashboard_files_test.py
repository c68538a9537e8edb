"""The dashboard's files come with headers that keep strangers' scripts out, and never in the API's place."""

from __future__ import annotations

import os

import pytest

from cell_monitor_api.dashboard import DashboardFiles, content_security_policy


@pytest.fixture
async def pages(make_site, tmp_path):
    build = tmp_path / "dist"
    (build / "assets").mkdir(parents=True)
    (build / "index.html").write_text("<!doctype html><title>Cell Monitor</title>")
    (build / "favicon.svg").write_text("<svg/>")
    (build / "assets" / "index-abc123.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("secret")
    (build / "link.txt").symlink_to(tmp_path / "secret.txt")
    async with make_site(dashboard_dir=build, gateway_url="ws://127.0.0.1:8901/ws") as site:
        yield site.client


@pytest.mark.parametrize("path", ["/", "/index.html", "/courses/c1", "/courses/c1/students/x.y", "/sign-in?next=/a"])
async def test_every_page_is_the_same_file(pages, path):
    answer = await pages.get(path)
    assert answer.status_code == 200
    assert "Cell Monitor" in answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-cache"


async def test_only_hashed_assets_are_cached_permanently(pages):
    asset = await pages.get("/assets/index-abc123.js")
    assert asset.text == "export {}"
    assert "javascript" in asset.headers["content-type"]
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (await pages.get("/favicon.svg")).headers["cache-control"] == "no-cache"
    unchanged = await pages.get("/assets/index-abc123.js", headers={"if-none-match": asset.headers["etag"]})
    assert unchanged.status_code == 304


@pytest.mark.parametrize("path", ["/", "/index.html", "/courses/c1"])
async def test_an_upgrade_replaces_the_page_though_its_date_and_size_stay(pages, tmp_path, path):
    # So it is in an image that is built reproducibly: only the hash in a script's name differs.
    index = tmp_path / "dist" / "index.html"
    index.write_text("<!doctype html>index-aaa.js")
    os.utime(index, (0, 0))
    old = await pages.get(path)
    index.write_text("<!doctype html>index-bbb.js")
    os.utime(index, (0, 0))
    held = {"if-none-match": old.headers["etag"], "if-modified-since": old.headers["last-modified"]}
    new = await pages.get(path, headers=held)
    assert new.status_code == 200
    assert "index-bbb.js" in new.text


async def test_a_missing_asset_is_no_page(pages):
    answer = await pages.get("/assets/index-old.js")
    assert answer.status_code == 404
    assert answer.json()["detail"][0]["type"] == "not_found"


async def test_pages_may_run_their_own_scripts_only_and_reach_the_gateway(pages):
    answer = await pages.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "connect-src 'self' ws://127.0.0.1:8901;" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("url", ["/ws", "https://monitor.test", "http://monitor.test/ws", "wss://monitor.test/ws"])
def test_the_policy_names_the_gateways_origin(url):
    expected = {"/ws": "'self';", "https://monitor.test": "'self' wss://monitor.test;"}.get(url)
    expected = expected or ("'self' wss://monitor.test;" if url.startswith("wss") else "'self' ws://monitor.test;")
    assert f"connect-src {expected}" in content_security_policy(url)


@pytest.mark.parametrize(
    "path",
    ["/..%2fsecret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt", "/link.txt", "/%00", "//etc/passwd"],
)
async def test_nothing_outside_of_the_build_is_served(pages, path):
    answer = await pages.get(path)
    assert "secret" not in answer.text
    assert "root:" not in answer.text
    assert answer.status_code < 500


async def test_the_api_keeps_its_paths(pages):
    answer = await pages.get("/api/v1/nothing")
    assert answer.status_code == 404
    assert answer.json()["detail"][0]["type"] == "not_found"
    assert (await pages.get("/api/v1/events")).status_code == 405
    assert (await pages.get("/api")).status_code == 404
    assert (await pages.get("/livez")).text == "ok"
    posted = await pages.post("/courses/c1")
    assert posted.status_code == 405
    assert posted.json()["detail"][0]["type"] == "method_not_allowed"


def test_a_directory_without_a_build_is_refused(tmp_path):
    with pytest.raises(ValueError, match="CELL_MONITOR_DASHBOARD_DIR"):
        DashboardFiles(tmp_path, gateway_url="/ws", not_found=lambda *_: None)
