"""The report in a real browser: what a reader sees, does and takes home."""

from __future__ import annotations

import codecs
import csv
import json
import re
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from sklearn_turn import NoiseFilteredClassifier
from sklearn_turn.exceptions import CleansingWarning
from sklearn_turn.inspection import apply_corrections, export_report, label_issues

webdriver = pytest.importorskip("selenium.webdriver")
by = pytest.importorskip("selenium.webdriver.common.by").By
keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
select = pytest.importorskip("selenium.webdriver.support.ui").Select

SWITCHES = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-dev-shm-usage "  # which is small in containers
    "--disable-background-networking --disable-component-update --disable-sync"
)
EVIL = ["<img src=x onerror=document.title=1>", "</script><script>x()</script>", "ok"]
# A formula, commas, quotes, line breaks, blanks at the ends, and other alphabets.
ODD = ['=a "quoted", thing', " blanks ", "two\nlines 猫 🐈"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """One browser for all tests; skipped where there is none."""
    program, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or chromedriver is None:
        pytest.skip("no browser: install the packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for switch in SWITCHES.split():
        options.add_argument(switch)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=chromedriver)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def downloads(driver, tmp_path_factory):
    folder = tmp_path_factory.mktemp("downloads")
    driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior",
        {"behavior": "allow", "downloadPath": str(folder)},
    )
    return folder


def write_report(folder, blobs, names, images=True, max_megabytes=20):
    """A report on the blobs under these names of the classes; its path and data."""
    folder.mkdir(exist_ok=True)
    y = np.array(names, dtype=object)[blobs.y % len(names)]
    clf = NoiseFilteredClassifier(noise_filter="channel", cv=3).fit(blobs.X, y)
    X = blobs.X
    if images:
        for name in ("roll a", "roll b"):
            (folder / name).mkdir()
        X = [
            str(folder / f"roll {'ab'[i % 2]}" / f"photo & <b> {i}.png")
            for i in range(len(y))
        ]
        for path, code in zip(X, blobs.y, strict=True):
            colour = tuple(int(value) for value in 85 * np.eye(3)[code] + 85)
            Image.new("RGB", (40, 30), colour).save(path)
    path = export_report(clf, X, y, folder / "report.html", max_megabytes=max_megabytes)
    return path, clf, X, y


@pytest.fixture(scope="module")
def report(tmp_path_factory, blobs):
    return write_report(tmp_path_factory.mktemp("report"), blobs, ["cat", "cow", "dog"])


@pytest.fixture
def page(driver, report):
    """The report, opened afresh, on a wide screen, without marks."""
    return opened(driver, report[0])


def opened(driver, path, *, width=1280, dark=False, keep_marks=False):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    media = {
        "prefers-color-scheme": "dark" if dark else "light",
        "prefers-reduced-motion": "reduce",  # a click waits for no scrolling
    }
    features = [{"name": name, "value": value} for name, value in media.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get(path.as_uri())
    if not keep_marks:
        driver.execute_script("localStorage.clear()")
        driver.get(path.as_uri())
    return driver


def complaints(page):
    return [entry["message"] for entry in page.get_log("browser")]


def text(page, css):
    return page.find_element(by.CSS_SELECTOR, css).text


def cards(page):
    return page.find_elements(by.CSS_SELECTOR, ".card")


def filter_by(page, name, value):
    select(page.find_element(by.ID, name)).select_by_visible_text(value)


def press(page, *what):
    for key in what:
        page.switch_to.active_element.send_keys(key)


def mark_of(card):
    return card.get_attribute("data-mark")


def test_nothing_is_complained_of_and_the_numbers_are_those_found(page, report):
    _, clf, X, y = report
    assert complaints(page) == []
    issues = label_issues(clf, X)
    n = issues["is_label_issue"].sum()
    assert text(page, "#tiles").startswith(f"Suspects\n{n}\n")
    assert f"{n} suspects, 1 to {min(n, 48)} shown" == text(page, "#count")
    worst = issues["rank"].idxmin()
    first = cards(page)[0]
    assert first.get_attribute("aria-label").startswith(
        f"Sample {worst}: given {y[worst]}, "
        f"suggested {issues['suggested_label'][worst]}, "
    )
    assert f"photo & <b> {worst}.png" in first.text
    # Its picture is in the page, in its colour and shape.
    red, green, blue, width, height = page.execute_script(
        """const image = document.querySelector('.card img');
        const canvas = document.createElement('canvas').getContext('2d');
        canvas.drawImage(image, 0, 0);
        return [...canvas.getImageData(5, 5, 1, 1).data.slice(0, 3),
                image.naturalWidth, image.naturalHeight]"""
    )
    assert (width, height) == (40, 30)
    colour = np.array(Image.open(X[worst]))[0, 0]
    np.testing.assert_allclose([red, green, blue], colour, atol=4)


def test_nothing_is_loaded_from_anywhere(page):
    entries = page.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert [name for name in entries if not name.startswith("data:")] == []
    blocked = page.execute_async_script(
        """const done = arguments[0];
        document.addEventListener('securitypolicyviolation',
            event => done(event.effectiveDirective));
        fetch('http://localhost:9/').catch(() => 0)"""
    )
    assert blocked == "connect-src"
    complaints(page)  # the one provoked


def test_filter_by_class_pair_mark_and_number(page, report):
    _, clf, X, _ = report
    issues = label_issues(clf, X).query("is_label_issue")
    cats = issues.query("given_label == 'cat'")
    filter_by(page, "filter-given", f"cat ({len(cats)})")
    assert text(page, "#count").startswith(f"{len(cats)} of {len(issues)} suspects")
    shown = {card.find_element(by.CLASS_NAME, "given").text for card in cards(page)}
    assert shown == {"cat"}
    page.find_element(by.ID, "clear").click()
    # The list of pairs does both filters at once.
    pairs = issues.query("given_label != suggested_label")
    pairs = pairs.groupby(["given_label", "suggested_label"]).size()
    (given, suggested), most = pairs.idxmax(), pairs.max()
    button = page.find_element(by.CSS_SELECTOR, "#pairs button")
    assert button.text == f"{given} → {suggested}"
    button.click()
    assert text(page, "#count").startswith(f"{most} of ")
    cards(page)[0].find_element(by.CSS_SELECTOR, ".mark.right").click()
    filter_by(page, "filter-mark", "right")
    assert len(cards(page)) == 1
    page.find_element(by.ID, "clear").click()
    number = issues.index[3]
    page.find_element(by.ID, "search").send_keys(str(number))
    labels = [card.get_attribute("aria-label") for card in cards(page)]
    # The number of a sample, or a part of the name of its file.
    found = [i for i in issues.index if str(number) in str(i)]
    expected = {f"Sample {i}" for i in found[:48]}
    assert {label.split(":")[0] for label in labels} <= {f"Sample {i}" for i in found}
    assert len(labels) == len(expected)
    assert f"Sample {number}" in expected or len(found) > 48
    page.find_element(by.ID, "search").send_keys("no such file")
    assert text(page, "#count") == "No suspect passes these filters."


def test_search_finds_folders_but_for_those_that_all_share(page, report):
    path, clf, X, _ = report
    issues = label_issues(clf, X).query("is_label_issue")
    search = page.find_element(by.ID, "search")
    search.send_keys("Roll B")
    expected = (issues.index % 2 == 1).sum()
    assert text(page, "#count").startswith(f"{expected} of {len(issues)} suspects")
    search.clear()
    search.send_keys(path.parent.name)
    assert text(page, "#count") == "No suspect passes these filters."


def test_sorting_the_suspects_and_the_classes(page, report):
    _, clf, X, _ = report
    issues = label_issues(clf, X).query("is_label_issue")
    filter_by(page, "sort", "order in the data")
    numbers = [
        int(re.match(r"Sample (\d+)", card.get_attribute("aria-label"))[1])
        for card in cards(page)
    ]
    assert numbers == issues.index[:48].tolist()
    filter_by(page, "sort", "given label")
    given = [card.find_element(by.CLASS_NAME, "given").text for card in cards(page)]
    assert given == sorted(issues["given_label"])[:48]

    def names():
        rows = page.find_elements(by.CSS_SELECTOR, "#class-table tbody th")
        return [row.text for row in rows]

    heading = '#class-table [data-key="name"]'
    page.find_element(by.CSS_SELECTOR, heading).click()
    assert names() == ["cat", "cow", "dog"]
    page.find_element(by.CSS_SELECTOR, heading).click()
    assert names() == ["dog", "cow", "cat"]
    sorted_by = page.find_element(by.CSS_SELECTOR, "#class-table th[aria-sort]")
    assert sorted_by.get_attribute("aria-sort") == "descending"


def test_pictures_and_table_lead_to_their_suspects(page, report):
    _, clf, X, _ = report
    issues = label_issues(clf, X)
    chart = page.find_element(by.ID, "losses-chart")
    for name, rows in (("cow", issues.query("given_label == 'cow'")), ("all", issues)):
        filter_by(page, "losses-class", name)
        flagged = rows["is_label_issue"].sum()
        assert chart.find_element(by.TAG_NAME, "svg").accessible_name == (
            f"Histogram: {len(rows) - flagged} labels not suspect, {flagged} suspect"
        )
    links = page.find_elements(by.CSS_SELECTOR, "#class-table tbody .link")
    next(link for link in links if link.text == "dog").click()
    dogs = issues.query("is_label_issue and given_label == 'dog'")
    assert text(page, "#count").startswith(f"{len(dogs)} of ")
    # A cell of the map is a pair: row the true class, column the given label.
    cell = next(
        cell
        for cell in page.find_elements(by.CSS_SELECTOR, "#map-chart .cell")
        if cell.find_element(by.TAG_NAME, "title")
        .get_attribute("textContent")
        .endswith("of cat are labelled dog")
    )
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", cell)
    cell.click()
    pair = dogs.query("suggested_label == 'cat'")
    assert text(page, "#count").startswith(f"{len(pair)} of ")


def test_a_class_without_suspects_leads_to_none(driver, blobs, tmp_path):
    """And not to those of all classes."""
    y = blobs.y_true.copy()
    wrong = np.flatnonzero(y == 0)[:30]
    y[wrong] = 1
    clf = NoiseFilteredClassifier(noise_filter="channel", cv=3).fit(blobs.X, y)
    issues = label_issues(clf).query("is_label_issue")
    assert set(issues["given_label"]) == {1}
    path = export_report(clf, blobs.X, y, tmp_path / "report.html")
    page = opened(driver, path)
    links = page.find_elements(by.CSS_SELECTOR, "#class-table tbody .link")
    next(link for link in links if link.text == "2").click()
    assert text(page, "#count") == "No suspect passes these filters."
    chosen = select(page.find_element(by.ID, "filter-given")).first_selected_option
    assert chosen.text == "2 (0)"
    page.find_element(by.ID, "clear").click()
    assert text(page, "#count").startswith(f"{len(issues)} ")


def test_reviewing_by_keyboard_alone(page):
    page.execute_script("document.querySelector('.keys summary').focus()")
    press(page, keys.TAB)
    first, _, third = cards(page)[:3]
    assert page.switch_to.active_element == first
    press(page, "w")  # marks, and goes on
    press(page, "r")
    assert page.switch_to.active_element == third
    press(page, keys.ARROW_LEFT, "u")
    marks = [mark_of(card) for card in cards(page)[:4]]
    assert marks == ["wrong", "unsure", "none", "none"]
    assert "2 of" in text(page, "#progress")
    assert page.find_element(by.ID, "spoken").get_attribute("textContent") == (
        "Marked unsure"
    )
    press(page, keys.HOME, "l")
    chosen = page.switch_to.active_element
    assert chosen.tag_name == "select"
    suggested = first_text(page, "suggested")
    assert chosen.get_attribute("value") == suggested
    press(page, keys.ESCAPE, keys.BACKSPACE)
    assert mark_of(cards(page)[0]) == "none"
    # Down one row, and over the end of the page.
    press(page, keys.ARROW_DOWN)
    top = cards(page)[0].location["y"]
    assert page.switch_to.active_element.location["y"] > top
    press(page, keys.END, keys.ARROW_RIGHT)
    assert text(page, "#page-number").startswith("Page 2 of")
    assert page.switch_to.active_element == cards(page)[0]
    press(page, keys.ARROW_LEFT)
    assert page.switch_to.active_element == cards(page)[-1]
    assert text(page, "#page-number").startswith("Page 1 of")


def first_text(page, name):
    return cards(page)[0].find_element(by.CLASS_NAME, name).text


def test_the_same_mark_twice_takes_it_away(page):
    for expected in ("wrong", "none"):
        cards(page)[0].find_element(by.CSS_SELECTOR, ".mark.wrong").click()
        assert mark_of(cards(page)[0]) == expected


def press_on(page, place, *what):
    page.execute_script("arguments[0].focus()", cards(page)[place])
    press(page, *what)


def choose_label(page, place, name):
    choice = cards(page)[place].find_element(by.TAG_NAME, "select")
    select(choice).select_by_visible_text(name)


def test_marks_are_kept_in_the_browser_for_these_data(
    driver, page, report, blobs, tmp_path
):
    press_on(page, 0, "w")
    choose_label(page, 0, "none of these")
    sample = cards(page)[0].get_attribute("aria-label").split(":")[0]
    opened(driver, report[0], keep_marks=True)
    assert mark_of(cards(driver)[0]) == "wrong"
    choice = cards(driver)[0].find_element(by.TAG_NAME, "select")
    assert choice.get_attribute("value") == ""
    # Another fit on the same data finds them too ...
    _, _, X, y = report
    clf = NoiseFilteredClassifier(noise_filter="gmm", cv=4).fit(blobs.X, y)
    opened(driver, export_report(clf, X, y, tmp_path / "again.html"), keep_marks=True)
    assert text(driver, "#progress").startswith("1 of")
    filter_by(driver, "filter-mark", "wrong")
    assert cards(driver)[0].get_attribute("aria-label").startswith(f"{sample}:")
    # ... and other labels have marks of their own.
    renamed = np.where(y == "cat", "lynx", y)
    clf = NoiseFilteredClassifier(noise_filter="channel", cv=3).fit(blobs.X, renamed)
    other = export_report(clf, X, renamed, tmp_path / "other.html")
    opened(driver, other, keep_marks=True)
    assert text(driver, "#progress").startswith("0 of")


def test_without_storage_marks_last_as_long_as_the_page(driver, report, downloads):
    refuse = driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {
            "source": """Object.defineProperty(window, 'localStorage', {
                get() { throw new DOMException('no', 'SecurityError'); }})"""
        },
    )
    try:
        opened(driver, report[0], keep_marks=True)
        press_on(driver, 0, "r")
        assert mark_of(cards(driver)[0]) == "right"
        assert "keeps no marks" in text(driver, "#storage-note")
        assert len(downloaded(driver, downloads)) == 1
        assert complaints(driver) == []
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", refuse)


def downloaded(page, folder):
    """Rows of the file that the page writes."""
    file = folder / "label_marks.csv"
    file.unlink(missing_ok=True)
    page.find_element(by.ID, "download").click()
    deadline = time.monotonic() + 20
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert file.read_bytes().startswith(codecs.BOM_UTF8)  # or Excel takes it for Latin
    with file.open(newline="", encoding="utf-8-sig") as lines:
        return list(csv.DictReader(lines))


def test_the_file_is_read_back_exactly(driver, downloads, blobs, tmp_path):
    path, clf, X, y = write_report(tmp_path, blobs, ODD)
    page = opened(driver, path)
    suspects = label_issues(clf, X).query("is_label_issue").sort_values("rank")
    # Wrong as suggested, right, unsure, wrong and of another class, of none of them.
    changed = (suspects["given_label"] != suspects["suggested_label"]).to_numpy()
    wrong, other, none = np.flatnonzero(changed)[:3]
    right, unsure = np.setdiff1d(np.arange(12), [wrong, other, none])[:2]
    for place, key in [(wrong, "w"), (right, "r"), (unsure, "u")]:
        press_on(page, place, key)
    press_on(page, other, "w")
    third = next(
        label
        for label in ODD
        if label
        not in suspects.iloc[other][["given_label", "suggested_label"]].tolist()
    )
    choice = cards(page)[other].find_element(by.TAG_NAME, "select")
    options = choice.find_elements(by.TAG_NAME, "option")
    options[[o.get_attribute("value") for o in options].index(third)].click()
    press_on(page, none, "w")
    choose_label(page, none, "none of these")

    rows = downloaded(page, downloads)
    assert list(rows[0]) == [
        "index",
        "path",
        "given_label",
        "suggested_label",
        "label_quality",
        "mark",
        "corrected_label",
    ]
    marked = sorted([wrong, other, none, right, unsure])
    expected = suspects.iloc[marked]
    assert [int(row["index"]) for row in rows] == expected.index.tolist()
    assert [row["path"] for row in rows] == expected["path"].tolist()
    for name in ("given_label", "suggested_label"):
        # No spreadsheet computes it.
        shown = ["'" + label if label[0] == "=" else label for label in expected[name]]
        assert [row[name] for row in rows] == shown
    quality = [float(row["label_quality"]) for row in rows]
    assert quality == expected["label_quality"].tolist()

    corrected, dropped = apply_corrections(y, downloads / "label_marks.csv")
    by_hand = y.copy()
    by_hand[suspects.index[wrong]] = suspects["suggested_label"].iloc[wrong]
    by_hand[suspects.index[other]] = third
    assert corrected.tolist() == by_hand.tolist()
    assert set(np.flatnonzero(dropped)) == {
        suspects.index[unsure],
        suspects.index[none],
    }


@pytest.mark.parametrize("width", [360, 1280])
def test_names_of_any_length_and_direction(driver, blobs, tmp_path, width):
    names = ["x" * 300, "words of a long name " * 12, "قط"]
    path, *_ = write_report(tmp_path, blobs, names)
    page = opened(driver, path, width=width)
    assert complaints(page) == []
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    # Arrows point to the suggested one, between two names from right to left, too.
    path, *_ = write_report(
        tmp_path / "rtl", blobs, ["قط", "كلب", "طائر"], images=False
    )
    page = opened(driver, path, width=width)
    for pair in page.find_elements(by.CSS_SELECTOR, "#pairs button"):
        given, suggested = pair.find_elements(by.TAG_NAME, "bdi")
        assert given.rect["x"] < suggested.rect["x"]


@pytest.mark.parametrize("images", [True, False], ids=["images", "table"])
def test_labels_and_names_stay_text(driver, blobs, tmp_path, images):
    path, *_ = write_report(tmp_path, blobs, EVIL, images=images)
    page = opened(driver, path)
    assert complaints(page) == []
    assert page.title == "Label report"
    assert page.find_elements(by.CSS_SELECTOR, "[onerror], script:not([type])") == []
    shown = {card.find_element(by.CLASS_NAME, "given").text for card in cards(page)}
    assert shown <= set(EVIL) and len(shown) > 1
    pairs = [pair.text for pair in page.find_elements(by.CSS_SELECTOR, "#pairs button")]
    assert f"{EVIL[0]} → {EVIL[1]}" in pairs
    if images:
        assert "photo & <b>" in cards(page)[0].text
    else:
        assert page.find_elements(by.CSS_SELECTOR, ".card img") == []


CONTRAST = """
const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const [r, g, b, alpha = 1] = rgb(getComputedStyle(e).backgroundColor);
    if (alpha === 1) return [r, g, b];
  }
};
return [...document.querySelectorAll('body *')]
  .filter((e) => e.checkVisibility() && !e.disabled && !e.closest('svg'))
  .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
  .map((e) => {
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML];
  });
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_narrow_and_wide_light_and_dark(driver, report, width, dark):
    page = opened(driver, report[0], width=width, dark=dark)
    for place, key in enumerate("wru"):
        press_on(page, place, key)
    for details in page.find_elements(by.TAG_NAME, "details"):
        page.execute_script("arguments[0].open = true", details)
    found = page.execute_script(CONTRAST)
    assert len(found) > 100
    assert min(found)[0] >= 4.5, min(found)
    ground = page.execute_script(
        "return getComputedStyle(document.body).backgroundColor"
    )
    assert (max(map(int, re.findall(r"\d+", ground))) < 60) == dark
    # Nothing sticks out, and fingers find the buttons.
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    sides = [card.rect for card in cards(page)]
    columns = len({side["x"] for side in sides})
    assert columns == 2 if width < 600 else columns >= 6
    assert all(side["x"] + side["width"] <= width for side in sides)
    if width < 600:
        buttons = page.find_elements(by.CSS_SELECTOR, ".card .mark")[:9]
        assert min(button.rect["height"] for button in buttons) >= 40
    for chart in page.find_elements(by.CSS_SELECTOR, "#losses-chart svg"):
        assert chart.rect["width"] <= width
    assert complaints(page) == []


@pytest.mark.parametrize("width", [720, 1100, 1300])
def test_nothing_hides_what_is_scrolled_to(driver, report, width):
    page = opened(driver, report[0], width=width)
    page.find_element(by.ID, "next").click()
    covered = """const box = arguments[0].getBoundingClientRect();
        const top = document.elementFromPoint(box.left + 5, box.top + 5);
        return !arguments[0].contains(top)"""
    assert not page.execute_script(covered, page.find_element(by.ID, "count"))
    assert not page.execute_script(covered, cards(page)[0])
    press_on(page, -1, keys.HOME)
    assert not page.execute_script(covered, cards(page)[0])
    toolbar = page.find_element(by.CLASS_NAME, "toolbar")
    assert toolbar.rect["height"] < 130 or (
        toolbar.value_of_css_property("position") == "static"
    )


def test_every_control_has_a_name(page):
    press_on(page, 0, "w")
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = {"button", "combobox", "searchbox", "link", "image"}
    unnamed = [
        node["role"]["value"]
        for node in tree
        if not node["ignored"]
        and node["role"]["value"] in controls
        and not node.get("name", {}).get("value")
    ]
    assert unnamed == []
    assert all(card.accessible_name.startswith("Sample ") for card in cards(page)[:5])


def test_pictures_without_room_are_said_to_be_left_out(driver, blobs, tmp_path):
    path, clf, *_ = write_report(tmp_path, blobs, ["a", "b", "c"], max_megabytes=0.08)
    page = opened(driver, path)
    notice = text(page, "#notices")
    n_suspects = (~clf.clean_mask_).sum()
    absent = int(re.search(r"Pictures of the last (\d+)", notice)[1])
    assert 0 < absent < n_suspects
    pictures = page.find_elements(by.CSS_SELECTOR, ".card img")
    assert len(pictures) == min(48, n_suspects - absent)


def test_thousands_of_suspects_are_shown_a_page_at_a_time(driver, tmp_path):
    rng = np.random.RandomState(0)
    X, y = rng.rand(4000, 2), rng.randint(100, size=4000)
    with pytest.warns(CleansingWarning):  # these labels are of nothing
        clf = NoiseFilteredClassifier().fit(X, y)
    clf.clean_mask_ = np.arange(4000) >= 2500
    page = opened(driver, export_report(clf, X, y, tmp_path / "large.html"))
    assert text(page, "#count") == "2,500 suspects, 1 to 48 shown"
    assert len(cards(page)) == 48
    page.find_element(by.ID, "next").click()
    assert text(page, "#count") == "2,500 suspects, 49 to 96 shown"
    # Elements of one page and one map, not of all suspects.
    elements = page.execute_script("return document.querySelectorAll('*').length")
    assert elements < 20_000
    assert complaints(page) == []


def test_marks_of_another_fit_and_another_tab_stay(driver, page, report):
    key = driver.execute_script("return Object.keys(localStorage)[0]")

    def stored():
        return json.loads(driver.execute_script(f"return localStorage['{key}']"))

    # A mark of a sample that this report does not list, one made in another tab since,
    # and one of a suggestion that another fit made.
    press_on(page, 0, "w")
    sample = cards(page)[0].get_attribute("aria-label").split(":")[0].split()[-1]
    marked = stored()
    assert list(marked) == [sample]
    assert marked[sample]["label"] == label_shown(page, 0)
    others = {"999999": {"mark": "right", "label": None}}
    others[sample] = {"mark": "wrong", "label": ""}
    driver.execute_script(
        f"localStorage['{key}'] = arguments[0]", json.dumps({**marked, **others})
    )
    press_on(page, 1, "r")
    assert stored().items() >= others.items() and len(stored()) == 3
    opened(driver, report[0], keep_marks=True)
    assert stored().items() >= others.items() and len(stored()) == 3
    assert text(driver, "#progress").startswith("2 of")
    assert text(driver, "#storage-note").endswith(
        "1 more, of samples not listed here, are not saved."
    )
    assert label_shown(driver, 0) == ""


def label_shown(page, place):
    return cards(page)[place].find_element(by.TAG_NAME, "select").get_attribute("value")
