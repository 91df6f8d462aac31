"""VirtualTB: networks made by hand, then the published ones against what they published."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.tfrec.environments.ports import torch_files
from tfrec import errors
from tfrec.environments.adapters import batched_env
from tfrec.environments.ports import virtualtb

SURE = 100.0


def arrays(name, seed=None):
    """Zero weights, or small random ones."""
    _, widths = virtualtb.FILES[name]
    rng = np.random.default_rng(seed)
    result = {}
    for layer, (wide, out) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        scale = 0.0 if seed is None else 1.0
        result[f"{2 * layer}.weight"] = scale * rng.normal(size=(out, wide)).astype(np.float32)
        result[f"{2 * layer}.bias"] = scale * rng.normal(size=out).astype(np.float32)
    return {key: values.astype(np.float32) for key, values in result.items()}


def write(folder, networks):
    for name, (file, _) in virtualtb.FILES.items():
        torch_files.write_arrays(folder / file, networks[name])
    return folder


@pytest.fixture
def certain(tmp_path):
    """Users of class 1 in each group who leave after page 3 and click 7 times, second 4."""
    networks = {name: arrays(name) for name in virtualtb.FILES}
    starts = np.cumsum([0, *virtualtb.GROUPS[:-1]])
    networks["generator"]["2.bias"][starts + 1] = SURE
    networks["leave"]["4.bias"][3] = SURE
    networks["action"]["4.bias"][[7, 11 + 4]] = SURE
    return networks


def test_a_session_by_hand(tmp_path, certain):
    simulator = virtualtb.VirtualTaobao(write(tmp_path, certain))
    state = simulator.reset(2, tf.constant([0, 1]))
    user = np.zeros(88)
    user[[1, 9, 17, 28, 39, 50, 61, 63, 65, 68, 86]] = 1
    np.testing.assert_array_equal(simulator.observation(state), [[*user, 0, 0, 0]] * 2)
    assert simulator.candidates(state) is None
    for page in (1, 2, 3):
        outcome = simulator.step(state, tf.zeros([2, 27]), tf.constant([0, page]))
        np.testing.assert_array_equal(outcome.reward, [7, 7])
        np.testing.assert_array_equal(outcome.clicks, [7, 7])
        np.testing.assert_array_equal(outcome.shown, [10, 10])
        np.testing.assert_array_equal(outcome.done, [page == 3] * 2)
        state = outcome.state
        # The user stays the same, at the end too: nobody else's features come in.
        np.testing.assert_array_equal(simulator.observation(state), [[*user, 7, 4, page]] * 2)


def test_who_would_leave_at_page_0_sees_one(tmp_path, certain):
    certain["leave"]["4.bias"][0] = 2 * SURE
    simulator = virtualtb.VirtualTaobao(write(tmp_path, certain))
    state = simulator.reset(4, tf.constant([0, 1]))
    np.testing.assert_array_equal(state.leave, 0)
    assert simulator.step(state, tf.zeros([4, 27]), tf.constant([0, 1])).done.numpy().all()


def test_feedback_sees_the_page_before_it_is_counted(tmp_path, certain):
    """Clicks 0 at page 0, else 10: a weight on the page, which is input 88."""
    weights = certain["action"]
    weights["0.weight"][0, 88] = weights["2.weight"][0, 0] = 1.0
    weights["4.weight"][10, 0] = 4 * SURE
    weights["4.bias"][:11] = 0
    weights["4.bias"][0] = SURE
    simulator = virtualtb.VirtualTaobao(write(tmp_path, certain))
    state = simulator.reset(1, tf.constant([0, 1]))
    for page, clicks in enumerate((0, 10, 10)):
        outcome = simulator.step(state, tf.zeros([1, 27]), tf.constant([0, page]))
        assert outcome.clicks.numpy() == clicks
        state = outcome.state


def test_layers_are_those_of_the_file(tmp_path):
    networks = {name: arrays(name, seed) for seed, name in enumerate(virtualtb.FILES)}
    simulator = virtualtb.VirtualTaobao(write(tmp_path, networks))
    rng = np.random.default_rng(9)
    user, page, action = rng.random((5, 88)), np.arange(5), rng.normal(size=(5, 27))
    x = np.concatenate([user, page[:, None], action], axis=1)
    result = simulator.feedback_logits(
        *(tf.constant(v, tf.float32) for v in (user, page, action))
    )
    weights = networks["action"]
    for layer in (0, 2, 4):
        x = x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]
        x = x if layer == 4 else np.where(x < 0, 0.01 * x, x)
    np.testing.assert_allclose(result, x, rtol=1e-4, atol=1e-2)


def test_users_are_drawn_by_the_generator(tmp_path, certain):
    """A group of 3 with logits log 1, log 2, log 5: shares 1/8, 2/8, 5/8."""
    certain["generator"]["2.bias"][64:67] = np.log([1, 2, 5])
    certain["leave"]["4.bias"][[3, 60]] = [SURE, SURE + np.log(3)]
    simulator = virtualtb.VirtualTaobao(write(tmp_path, certain))
    state = simulator.reset(20000, tf.constant([3, 1]))
    np.testing.assert_allclose(
        np.mean(state.user[:, 64:67], axis=0), [0.125, 0.25, 0.625], atol=0.015
    )
    np.testing.assert_array_equal(np.sum(state.user, axis=1), 11)
    assert np.mean(state.leave == 60) == pytest.approx(0.75, abs=0.015)


def test_same_seed_same_session(tmp_path):
    networks = {name: arrays(name, seed) for seed, name in enumerate(virtualtb.FILES)}
    simulator = virtualtb.VirtualTaobao(write(tmp_path, networks))

    def play(*seed):
        state = simulator.reset(50, tf.constant(seed))
        seen = [simulator.observation(state).numpy(), state.leave.numpy()[:, None]]
        outcome = simulator.step(state, tf.zeros([50, 27]), tf.constant(seed))
        return np.concatenate([*seen, outcome.clicks.numpy()[:, None]], axis=1)

    np.testing.assert_array_equal(play(0, 1), play(0, 1))
    assert (play(0, 1) != play(0, 2)).any()


def test_a_clone_and_its_data_folder_are_the_same(tmp_path, certain):
    data = tmp_path / "virtualTB" / "data"
    data.mkdir(parents=True)
    write(data, certain)
    for folder in (tmp_path, str(data)):
        assert virtualtb.VirtualTaobao(folder).reset(1, tf.constant([0, 1])).leave.numpy() == 3


def test_no_clone(tmp_path, certain):
    with pytest.raises(errors.UserError) as raised:
        virtualtb.VirtualTaobao(tmp_path / "nowhere")
    assert str(raised.value) == (
        f"{tmp_path}/nowhere/generator_model.pt: not there. Expected a clone of VirtualTaobao, "
        "with virtualTB/data/generator_model.pt in it: "
        "git clone https://github.com/eyounx/VirtualTaobao"
    )
    write(tmp_path, certain)
    (tmp_path / "leave_model.pt").unlink()
    with pytest.raises(errors.UserError, match=r"leave_model\.pt: not there"):
        virtualtb.VirtualTaobao(tmp_path)


def test_a_damaged_or_wrong_file_is_named(tmp_path, certain):
    write(tmp_path, certain)
    path = tmp_path / "action_model.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(errors.UserError, match=r"action_model\.pt: damaged.*ends early"):
        virtualtb.VirtualTaobao(tmp_path)
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(errors.UserError, match=r"action_model\.pt: damaged"):
        virtualtb.VirtualTaobao(tmp_path)
    shutil.copy(tmp_path / "leave_model.pt", path)
    says = r"action_model\.pt: another network than the published action model: .*\(128, 88\)"
    with pytest.raises(errors.UserError, match=says):
        virtualtb.VirtualTaobao(tmp_path)


# The published networks.


@pytest.fixture(scope="module")
def published(real_data):
    return virtualtb.VirtualTaobao(real_data / "virtualtb")


@pytest.fixture(scope="module")
def golden(real_data):
    """Inputs and the outputs of the original networks."""
    with np.load(real_data / "virtualtb" / "golden.npz") as result:
        return dict(result)


@tf.function
def play(simulator, sessions, seed, constant):
    """Clicks and pages of whole sessions; actions at random where there is no constant."""
    state = simulator.reset(sessions, tf.stack([seed, 0]))
    going = tf.ones([sessions], tf.bool)
    clicks, pages, second = (tf.zeros([sessions]) for _ in range(3))
    for page in tf.range(virtualtb.MAX_PAGES):
        if constant is None:
            seeds = tf.stack([seed, 2 * page + 1])
            action = tf.random.stateless_uniform([sessions, 27], seeds, -1.0, 1.0)
        else:
            action = tf.repeat(constant[None], sessions, axis=0)
        outcome = simulator.step(state, action, tf.stack([seed, 2 * page + 2]))
        counted = tf.cast(going, tf.float32)
        clicks += counted * outcome.clicks
        pages += counted
        second += counted * tf.cast(outcome.state.feedback[:, 1] > 0, tf.float32)
        going, state = going & ~outcome.done, outcome.state
    return clicks, pages, second, going


def test_networks_equal_the_originals(published, golden):
    logits = published.user_logits(golden["z"])
    groups = tf.split(logits, virtualtb.GROUPS, axis=1)
    users = tf.concat([tf.nn.softmax(group) for group in groups], axis=1)
    np.testing.assert_allclose(users, golden["user_group_probabilities"], rtol=1e-5, atol=1e-6)
    leave = published.leave_logits(golden["users"])
    np.testing.assert_allclose(leave, golden["leave_logits"], rtol=1e-5, atol=1e-4)
    feedback = published.feedback_logits(
        golden["users"], golden["page"][:, 0], golden["actions"]
    )
    # Logits reach 5e4 in float32.
    np.testing.assert_allclose(feedback, golden["click_and_aux_logits"], rtol=1e-5, atol=0.05)


def test_random_actions_earn_what_they_did_in_the_original(published):
    """The original's 1,000 episodes: means with their standard errors."""
    clicks, pages, second, going = play_numpy(published, 10000, 1, None)
    assert not going.any() and pages.min() == 1 and pages.max() == 100
    assert clicks.mean() == pytest.approx(1.456, abs=3 * 0.092)
    assert (clicks / pages / 10).mean() == pytest.approx(0.0204, abs=3 * 0.0015)
    assert clicks.sum() / pages.sum() / 10 == pytest.approx(0.0181, abs=0.0015)
    assert pages.mean() == pytest.approx(8.03, abs=3 * 12.3 / 1000**0.5)
    assert np.median(pages) == 4
    # From the leave model's probabilities, over 20,000 users.
    assert pages.mean() == pytest.approx(7.82, abs=3 * 11.5 * (1 / 10000 + 1 / 20000) ** 0.5)
    assert (pages == 1).mean() == pytest.approx(0.141, abs=3 * 0.348 * 1.5**0.5 / 100)
    assert second.sum() / pages.sum() == pytest.approx(0.02, abs=0.005)


def test_one_constant_action_earns_nearly_every_click(published):
    constant = virtualtb.constant_action(published, seed=0, users=512)
    assert constant.shape == (27,) and np.abs(constant).max() <= 1
    clicks, pages, *_ = play_numpy(published, 2000, 2, tf.constant(constant))
    assert clicks.sum() / pages.sum() / 10 > 0.999


def play_numpy(simulator, sessions, seed, constant):
    return [x.numpy() for x in play(simulator, sessions, tf.constant(seed), constant)]


def test_under_tf_agents(published):
    env = batched_env.BatchedTFEnvironment(published, batch=256, seed=0)
    before = env.reset()
    for _ in range(30):
        now = env.step(tf.zeros([256, 27]))
        same = (now.observation[:, :88] == before.observation[:, :88]).numpy().all(axis=1)
        assert same[~now.is_first().numpy()].all()  # one user from FIRST to LAST
        page = now.observation[:, 90].numpy()
        assert not page[now.is_first().numpy()].any()
        before = now
