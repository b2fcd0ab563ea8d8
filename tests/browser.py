"""Show a page in Chromium (Qt WebEngine), and print as JSON what it asked for, said, and how it looks.

python tests/browser.py PAGE.html WIDTH PICTURE.png
"""

import json
import sys
from pathlib import Path

from PyQt6.QtCore import QTimer, QUrl
from PyQt6.QtWebEngineCore import QWebEnginePage, QWebEngineUrlRequestInfo, QWebEngineUrlRequestInterceptor
from PyQt6.QtWebEngineWidgets import QWebEngineView
from PyQt6.QtWidgets import QApplication

HEIGHT = 844  # pixels of a phone
DRAWN_AFTER = 300  # milliseconds
LOOK = """JSON.stringify({
    wide: document.documentElement.scrollWidth,
    pictures: [...document.images].map(image => image.complete && image.naturalWidth > 0 && image.width <= innerWidth),
})"""
asked, said = [], []


class Requests(QWebEngineUrlRequestInterceptor):
    """Notes what the page asks for."""

    def interceptRequest(self, info: QWebEngineUrlRequestInfo) -> None:  # noqa: N802
        asked.append(info.requestUrl().scheme())


class Page(QWebEnginePage):
    """Notes what the console says."""

    def javaScriptConsoleMessage(self, level, message, line, source):  # noqa: N802
        said.append(message)


path, width, picture = sys.argv[1:]
application = QApplication(["browser", "--no-sandbox"])
view, interceptor = QWebEngineView(), Requests()
page = Page(view)
page.profile().setUrlRequestInterceptor(interceptor)
view.setPage(page)
view.resize(int(width), HEIGHT)


def finish(look: str) -> None:
    view.grab().save(picture)
    print(json.dumps({"asked": sorted(set(asked)), "said": said} | json.loads(look)))
    application.exit(0)


def loaded(good: bool) -> None:
    if not good:
        application.exit(1)
    QTimer.singleShot(DRAWN_AFTER, lambda: page.runJavaScript(LOOK, finish))


page.loadFinished.connect(loaded)
view.load(QUrl.fromLocalFile(str(Path(path).resolve())))
view.show()
sys.exit(application.exec())
