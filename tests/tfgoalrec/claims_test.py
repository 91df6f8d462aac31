import numpy as np
import pytest

from tfgoalrec import claims, published


def sessions(reward, depth=50.0):
    users = np.arange(100)
    base = 1.0 + 0.1 * np.sin(users)  # the same users under every method
    return [{"user": users, "reward": reward * base, "depth": np.full(100, depth)}]


def verdict(checks, words):
    [check] = [check for check in checks if check.claim == words]
    return check.verdicts["movielens"]


def test_the_printed_tables_agree_with_the_text_of_the_paper():
    # +3.7%, +6.1% and +10.7% are in the paper's text.
    printed = {check.claim: check.paper for check in claims.checks({}, ["movielens"])}
    assert printed["GoalRec earns more than Rainbow"] == "+3.7%"
    assert printed["GoalRec earns more than Dyna-Q"] == "+6.1%"
    assert printed["GoalRec earns more than TD3"] == "+10.7%"
    # -4.2%, -5.5% and -14.3% under high variance are in its text, too.
    assert printed["Dyna-Q loses under high variance"] == "-4.2%"
    assert printed["Rainbow loses under high variance"] == "-5.5%"
    assert printed["TD3 loses under high variance"] == "-14.3%"


def test_printed_depth_is_reward_by_ctr():
    cell = published.TABLES["vanilla"]["goalrec"]["movielens"]
    assert cell.depth == pytest.approx(31.6 / 0.544)


def test_verdicts():
    vanilla = {
        "dien": sessions(20, 30),  # fewer clicks, but a higher CTR
        "goalrec": sessions(30, 60),
        "rainbow": sessions(33, 60),
        "goalrec_off": sessions(32, 60),
    }
    noisy = {"goalrec": sessions(29.7), "rainbow": sessions(30)}
    evaluated = {"vanilla": {"movielens": vanilla}, "high_variance": {"movielens": noisy}}
    checks = claims.checks(evaluated, ["movielens"])
    assert verdict(checks, "DIEN has a higher CTR than GoalRec").startswith("holds: +33.3%")
    assert verdict(checks, "DIEN has a lower reward than GoalRec").startswith("holds: -33.3%")
    assert verdict(checks, "GoalRec earns more than Rainbow").startswith("reversed: -9.1%")
    assert verdict(checks, "GoalRec earns more than TD3") == "not run"
    off = "GoalRec-off is competitive: at most 10% below the best baseline"
    assert verdict(checks, off).startswith("holds: -3.0%")
    assert verdict(checks, off).endswith("against Rainbow")
    assert verdict(checks, "GoalRec loses under high variance").startswith("holds: -1.0%")
    # GoalRec loses .3 of 30, Rainbow 3 of 33.
    least = verdict(checks, "GoalRec loses least under high variance")
    assert least.startswith("holds: +8.1%") and "] against Rainbow, p " in least
    assert [check.mean for check in checks] == [""] * 18  # one data set has no mean
    assert verdict(checks, "GoalRec loses least in high dimension") == "not run"


def test_noise_leaves_a_claim_undecided():
    random = np.random.default_rng(0)
    users = np.arange(50)

    def noisy():
        return [{"user": users, "reward": random.normal(30, 9, 50), "depth": users + 50}]

    evaluated = {"vanilla": {"movielens": {"goalrec": noisy(), "td3": noisy()}}}
    checks = claims.checks(evaluated, ["movielens"])
    assert verdict(checks, "GoalRec earns more than TD3").startswith("undecided")
    # Differences of two normal rewards: standard error 9 sqrt(2 / 50) of 30, times 2.8.
    power = verdict(checks, "GoalRec earns more than TD3").partition("80% power from ±")[2]
    assert 13 < float(power.partition("%")[0]) < 22


def test_p_values_are_corrected_for_all_claims_and_data_sets():
    users = np.arange(400)
    noise = 2**0.5 * np.cos(7 * users)  # mean 0, standard deviation 1

    def cell(reward):
        return [{"user": users, "reward": reward, "depth": np.full(400, 50.0)}]

    def checked(other_sets):
        # A difference of .15, three times its standard error: p = .003.
        movielens = {"goalrec": cell(30 + 0 * users), "td3": cell(29.85 + noise)}
        equal = {"goalrec": cell(30 + 0 * users), "td3": cell(30 + noise)}
        every = {"movielens": movielens, **{f"set{n}": equal for n in range(other_sets)}}
        checks = claims.checks({"vanilla": every}, list(every))
        return verdict(checks, "GoalRec earns more than TD3")

    assert checked(0).startswith("holds: +0.5%") and checked(0).endswith("p 0.003")
    assert checked(10).startswith("holds: +0.5%") and checked(10).endswith("p 0.033")
    assert checked(20).startswith("undecided: +0.5%") and checked(20).endswith("p 0.063")


def test_a_claim_is_judged_by_the_mean_over_the_measured_data_sets():
    users = np.arange(400)
    noise = np.where(users % 2, 1.0, -1.0)  # mean 0, standard deviation 1.001

    def cell(reward):
        return [{"user": users, "reward": reward, "depth": np.full(400, 50.0)}]

    def world(reward):  # GoalRec's differs from 30 by twice its standard error, or not at all
        return {"goalrec": cell(reward + noise), "td3": cell(np.full(400, 30.0))}

    every = {
        "films": world(30.1),
        "shop": world(30.1),
        "songs": {"dien": cell(0 * users + 9.0)},
    }
    words = "GoalRec earns more than TD3"
    [check] = [c for c in claims.checks({"vanilla": every}, list(every)) if c.claim == words]
    # t = 1.9975 on each: p = .0464, doubled for two claims. The mean has sqrt(2) times as much.
    assert check.verdicts["films"].startswith("undecided: +0.3%")
    assert check.verdicts["films"].endswith("p 0.093") and check.verdicts["songs"] == "not run"
    assert check.mean.startswith("holds: +0.3%") and check.mean.endswith("p 0.0048")
    one = {"films": every["films"], "songs": every["songs"]}
    [check] = [c for c in claims.checks({"vanilla": one}, list(one)) if c.claim == words]
    assert check.mean == "not run"
    text = claims.markdown({"vanilla": every}, {name: name for name in every})
    assert text.startswith("| Claim | Paper | films | shop | songs | Mean over them |")


def test_losing_least_is_judged_against_the_best_of_the_others():
    users = np.arange(400)
    noise = 2**0.5 * np.cos(7 * users)

    def cell(reward):
        return [{"user": users, "reward": reward + 0.0 * users, "depth": np.full(400, 50.0)}]

    # Changes: GoalRec -1%, Rainbow -5%, TD3 +0.5% with a standard error of .05 of 30.
    vanilla = {name: cell(30.0) for name in ("goalrec", "rainbow", "td3")}
    noisy = {"goalrec": cell(29.7), "rainbow": cell(28.5), "td3": cell(30.15 + noise)}
    evaluated = {"vanilla": {"movielens": vanilla}, "high_variance": {"movielens": noisy}}
    least = verdict(
        claims.checks(evaluated, ["movielens"]), "GoalRec loses least under high variance"
    )
    # The difference of -1.5 points is nine standard errors.
    assert least.startswith("reversed: -1.5%") and "against TD3" in least
    noisy["td3"] = cell(29.85 + noise)
    least = verdict(
        claims.checks(evaluated, ["movielens"]), "GoalRec loses least under high variance"
    )
    # -.5 points, three standard errors: p = .003, times the two others, and Holm's four claims.
    assert least.startswith("reversed: -0.5%")
    noisy["td3"] = cell(29.8 + noise)
    least = verdict(
        claims.checks(evaluated, ["movielens"]), "GoalRec loses least under high variance"
    )
    # -.33 points, two standard errors: .046 times two.
    assert least.startswith("undecided: -0.3%")
