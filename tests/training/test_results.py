"""What is said of models: every line from a report."""

from dataclasses import replace

from atlasae.report import to_text
from atlasae.training.results import RateReport, TrainingReport


def test_a_model_in_words():
    facts = {"output": "a.model", "architecture": "mlp", "bytes": 12_345, "sha256": "0123456789abcdef"}
    jets = {"training": 8000, "validation": 1000, "test": 999}
    report = TrainingReport(**facts, provenance={"jets": jets})
    assert to_text(report.page) == "a.model: mlp, 12.35 kB, SHA-256 0123456789ab"
    for test, words in (
        ({"jets": 1999, "bits_per_jet_at_1e-3": 44.066}, "44.07 bits per jet at 1e-3"),
        ({"jets": 1999, "half_widths": {"pt": 0.0123, "m": 0.4}}, "half-widths  pt 0.012  m 0.4"),
    ):
        assert to_text(replace(report, ended="all steps done", test=test).page).splitlines()[1:] == [
            "  trained on 8,000 jets, validated on 1,000; all steps done",
            f"  test on 1,999 jets: {words}",
        ]


def test_a_learning_rate_in_words():
    text = to_text(RateReport(output="rate.png", learning_rate=0.00312, rates=[], losses=[]).page)
    assert text == "rate.png: learning rate 0.003, as in --set course.learning_rate=..."
