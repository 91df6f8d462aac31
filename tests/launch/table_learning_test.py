import dataclasses
import json

import numpy as np
import pytest

from launch.experiments import table_learning, table_plan

SCALE = dataclasses.replace(
    table_plan.SCALES["smoke"],
    log_rounds=4,
    play_rounds=8,
    updates_per_round=100,
    sessions_per_round=512,
    curve_users=50,
)


@pytest.fixture
def folders(tmp_path):
    """Two seeds of a method that gains .5 an evaluation, and one of which nothing is known."""
    for seed in (0, 1):
        folder = tmp_path / f"seed{seed}"
        folder.mkdir()
        lines = [
            {"iteration": i, "evaluate/validation_reward": 2 + 0.25 * i + seed}
            for i in range(2, 13, 2)
        ]
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in lines))
    return {"td3": [tmp_path / "seed0", tmp_path / "seed1"], "dien": [tmp_path / "nowhere"]}


def test_curves_are_shares_where_the_optimum_is_known(folders):
    curves = table_learning.read(folders, {"random": 2.5, "optimum": 7.5, "myopic": 3.5})
    assert curves.rounds.tolist() == [2, 4, 6, 8, 10, 12] and list(curves.rewards) == ["td3"]
    np.testing.assert_allclose(curves.rewards["td3"][:, 0], [0.0, 0.2])
    assert curves.levels["myopic"] == pytest.approx(0.2)
    # The mean of both seeds is (.25 i) / 5: after the log, and after 2, 4 and 8 rounds of play.
    heading, _, td3, *_ = table_learning.markdown("Shop", curves, SCALE).splitlines()
    assert heading.split(" | ")[1:] == [
        "400 updates, 0 sessions",
        "600 updates, 1,024 sessions",
        "800 updates, 2,048 sessions",
        "1,200 updates, 4,096 sessions |",
    ]
    assert td3 == "| TD3 | 20% | 30% | 40% | 60% |"


def test_rewards_stand_where_it_is_not(folders, tmp_path):
    curves = table_learning.read(folders, {"random": 2.5})
    assert not curves.is_share
    text = table_learning.markdown("Shop", curves, SCALE)
    assert "| TD3 | 3.50 | 4.00 | 4.50 | 5.50 |" in text
    assert "Reward of the greedy policy on 50 validation users" in text
    picture = table_learning.plot(tmp_path / "curve.png", "Shop", curves, SCALE)
    assert picture.path.stat().st_size > 10_000 and "first 400 updates" in picture.caption


def test_a_column_is_the_last_evaluation_up_to_then(folders):
    """With one round of play the quarter, the half and the log's end are one column."""
    scale = dataclasses.replace(SCALE, log_rounds=5, play_rounds=1)
    heading, _, td3, *_ = table_learning.markdown(
        "Shop", table_learning.read(folders, {}), scale
    ).splitlines()
    assert heading.split(" | ")[1:] == [
        "400 updates, 0 sessions",
        "600 updates, 512 sessions |",
    ]
    assert td3 == "| TD3 | 3.50 | 4.00 |"
