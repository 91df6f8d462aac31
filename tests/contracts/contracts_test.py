"""What every registered method promises, for each of them: real learners, built as a run does.

1. Every trainable variable moves within the first iterations.
2. A run that is resumed by a fresh learner ends bit for bit as one that was not stopped.
3. The same seed gives the same run, another seed another run.
4. A loss that is not finite ends the run, names the tensor, leaves the whole batch behind, and
   changes no variable of the learner.
5. Items that may not repeat do not, in acting, exploring and bootstrapping.
6. Seeds are set before anything is built.
7. At most half of each batch is synthetic.
8. A learner that is no longer used leaves no graph behind, so that tuning can train many.

Dyna-Q is outside of 7: the paper fixes its share of simulated steps, (K - 1) / K.
"""

import ast
import gc
import pathlib
import re
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow.python.framework import func_graph

from tests.contracts import cases
from tfgoalrec import acting
from tfimrl import agent as imrl_agent
from tfimrl import causal_graph, imrl_method
from tfimrl import method as imrl_names
from tfrec import types
from tfrec.environments import contract
from tfrec.environments import registry as environments
from tfrec.errors import UserError
from tfrec.methods import registry, trials
from tfrec.replay.transitions import TransitionReplay
from tfrec.training import checkpoint, finite, loop
from tfrec.training import run as runs

UNITS = 2  # before the checkpoint, and as many after it
SEED, OTHER_SEED = 3, 4

# Methods that recommend items have no form for VirtualTB's continuous action.
NEED_ITEMS = ("goalrec", "slateq", "deers", "tpgr")
# Methods that read the columns of each item feature: no Gymnasium environment names them.
NEED_FEATURES = ("deers",)
# One of each family: its code for updates, replay and seeds is the others' as well.
OFTEN = ("goalrec", "rainbow", "imrl", "slateq", "reinforce")
FAST = ("goalrec", "imrl")  # the rest of them is left to the slow tests
# Configurations of IMRL that no registered method has, with parts of their own.
VARIANTS = {
    "learned": {"augmentation": "learned"},
    "copies": {"augmentation": "copies"},
    "faithful": {"mode": "faithful"},
    "forward": {"successor": "forward"},
    "bonus_share": {"successor": "forward", "bonus_share": 0.1},
}

# Trainable variables that rightly stay where they are: case and path -> why.
STILL = {
    "deers-recogym:method/(values|target_network)/readers/1/": "views are never negative: the "
    "second history, of dislikes, is always empty there",
}
# Variables that an iteration changes before or beside its updates.
BESIDE_UPDATES = (
    "generator",  # every draw
    "replay",  # rows are added by play; a prioritized draw counts itself
    "rollout",  # the last rollout of methods that learn on policy
    "simulated",  # Dyna-Q's planned steps, added while the batch is drawn
    "drawn", "order",  # the place in a shuffled pass over the replay
    "learning_rate",  # set by the schedule at the start of an iteration
    "epsilon", "pool",  # exploration, by the schedule
    "_state", "_user", "_begun", "steps", "sessions", "iteration",  # play
    "seen",  # what augmentation reports of a rollout
    "together",  # KGRL's counts of items that go together, from play
    "measurements",  # GoalRec's running mean and standard deviation, from play
)  # fmt: skip


def _cases():
    for name in registry.names(registry.LOG):
        # Only GoalRec-off learns from the log alone by nature; others in their play.
        place = "world" if registry.get(name).plays else "log"
        case = cases.catalogue(name, place)
        yield _marked(case, name)
    # IMRL's controls are among the variants.
    for place in environments.ENVIRONMENTS:
        for name in registry.names(place):
            if name in imrl_names.CONTROLS:
                continue
            # At this size a learned graph of users finds next to nothing to exchange.
            told = place == "users" and name in ("imrl", "imrl_e", "imrl_kl")
            changes = {"augmentation": "heuristic"} if told else {}
            case = cases.live_case(name, place, **changes)
            # The same code as in RecSim, but for the shape of observations and actions.
            often = place == "recsim" and name in OFTEN
            yield _marked(case, name) if often else _exhaustive(case)
    for variant, changes in VARIANTS.items():
        yield _exhaustive(cases.live_case("imrl", "recsim", variant, **changes))


def _exhaustive(case):
    return pytest.param(case, marks=pytest.mark.exhaustive)


def _marked(case, name):
    """A case or a name with the mark of how often its method is tested."""
    if name in FAST:
        return case
    return pytest.param(case, marks=pytest.mark.slow) if name in OFTEN else _exhaustive(case)


def _often(names):
    """Names as parameters, marked as `_marked` says."""
    return [_marked(name, name) for name in names]


def _id(case):
    return case.id


class Story:
    """A learner of a case that ran without a stop, with the states on its way."""

    def __init__(self, case, folder):
        self.case, self.folder = case, folder
        self.learner = case.build(SEED)
        self.start = self._keep("start")
        self.middle = self._run("middle")
        self.end = self._run("end")

    def back_to(self, state, learner=None):
        """Restores a kept state, into the learner or another one."""
        checkpoint.read(self.folder / state, learner or self.learner)

    def _run(self, state):
        for _ in range(UNITS):
            self.learner.advance()
        return self._keep(state)

    def _keep(self, state):
        checkpoint.write(self.folder / state, self.learner, {})
        return cases.values(self.learner)


@pytest.fixture(scope="module", params=list(_cases()), ids=_id)
def story(request, tmp_path_factory):
    yield Story(request.param, tmp_path_factory.mktemp("story"))
    tf_keras.backend.clear_session()
    gc.collect()


def _skip_counts(story):
    if story.case.name == "item_counts":
        pytest.skip("fits no weights: it counts")


def test_every_trainable_variable_moves(story):
    _skip_counts(story)
    paths = cases.trainable(story.learner)
    assert paths
    still = {p for p in paths if (story.start[p] == story.end[p]).all()}
    assert {p for p in still if not _stays(story.case, p)} == set()
    assert still or not any(_stays(story.case, p) for p in paths)
    assert all(np.isfinite(story.end[p]).all() for p in paths)


def test_a_resumed_run_ends_as_one_that_was_not_stopped(story):
    if story.case.place == "gymnasium":
        pytest.skip("environments of Gymnasium are in no checkpoint: their sessions begin anew")
    fresh = story.case.build(SEED)
    story.back_to("middle", fresh)
    for _ in range(UNITS):
        fresh.advance()
    _assert_same(cases.values(fresh), story.end)


def test_an_unused_learner_leaves_no_graph(story):
    if story.case.name == "sac":
        pytest.skip("TF-Agents' agent: what keeps its graph is not in this project")

    def run():
        learner = story.case.build(SEED)
        for _ in range(UNITS):
            learner.advance()

    def graphs():
        trials.free_models()
        every = gc.get_objects()
        return weakref.WeakSet(g for g in every if isinstance(g, func_graph.FuncGraph))

    earlier = graphs()  # with those of the functions of modules, which are traced once
    run()
    mine = graphs() - earlier
    run()  # takes the place of what only the latest learner keeps
    trials.free_models()
    assert not list(mine)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(story, tmp_path):
    _skip_counts(story)
    _assert_same(cases.values(story.case.build(SEED)), story.start)
    story.back_to("start")
    for _ in range(UNITS):
        story.learner.advance()
    _assert_same(cases.values(story.learner), story.middle)

    other = story.case.build(OTHER_SEED)
    paths = cases.trainable(other)
    others = cases.values(other)
    assert any((others[p] != story.start[p]).any() for p in paths)
    generators = [p for p in story.start if "generator" in p]
    assert generators and any((others[p] != story.start[p]).any() for p in generators)
    # The same graph from the other seed's state: another run.
    checkpoint.write(tmp_path / "other", other, {})
    checkpoint.read(tmp_path / "other", story.learner)
    for _ in range(UNITS):
        story.learner.advance()
    after = cases.values(story.learner)
    large = [p for p in paths if after[p].size > 8 and not _stays(story.case, p)]
    assert large and all((after[p] != story.middle[p]).any() for p in large)


def test_a_weight_that_is_not_finite_stops_the_run_and_leaves_its_batch(
    story, tmp_path, capsys
):
    _skip_counts(story)
    story.back_to("middle")
    # A weight that learns, and that does not choose the actions which play stores. It is of no
    # first layer: TensorFlow's fused ReLU turns NaN into 0 on some processors.
    elsewhere = re.compile("slow|target|averaged|attention|actor|policy|layers/0/")
    learned = cases.trainable(story.learner)
    path, variable = next((p, v) for p, v in learned.items() if not elsewhere.search(p))
    variable.assign(tf.fill(variable.shape, np.nan))
    before = cases.values(story.learner)
    name, arrays = _stopped(story.learner, tmp_path, capsys)
    after = cases.values(story.learner)
    changed = [p for p in after if not np.array_equal(after[p], before[p], equal_nan=True)]
    assert [p for p in changed if not _beside_updates(p)] == []
    # What was stored and drawn is as it was: the weight alone was not finite.
    read = [p for p in arrays if not re.search("returns|value", p)]  # V(s) is the weight's
    assert read and all(np.isfinite(arrays[p]).all() for p in read), path

    # The update repeats from the file, and is sound with sound weights.
    assert _repeated(story.learner, arrays) == name
    story.back_to("middle")
    if all(np.isfinite(value).all() for value in arrays.values()):
        assert _repeated(story.learner, arrays) is None


def test_a_reward_that_is_not_finite_stops_the_run_and_stays_in_the_batch(
    story, tmp_path, capsys
):
    story.back_to("middle")
    stored = _stored_reward(story.learner)
    if stored is None:
        pytest.skip("learns on policy: it stores no rewards")
    reward = stored.numpy()
    reward[1::4] = np.nan
    stored.assign(reward)
    name, arrays = _stopped(story.learner, tmp_path, capsys)
    rewards = [p for p in arrays if re.search(r"(reward|label|measurement)$", p)]
    wrong = [np.isnan(arrays[p].reshape(len(arrays[p]), -1)).any(axis=1) for p in rewards]
    assert any(rows.any() and not rows.all() for rows in wrong)
    assert _repeated(story.learner, arrays) == name
    assert all(np.isfinite(v.numpy()).all() for v in cases.trainable(story.learner).values())


def test_the_causal_graph_s_batch_is_left_too(tmp_path, capsys):
    learner = cases.live_case("imrl", "recsim", **VARIANTS["learned"]).build(SEED)
    attention = learner.method.augmentation.attention
    attention.trainable_variables[0].assign_add(
        tf.fill(attention.trainable_variables[0].shape, np.nan)
    )
    before = cases.values(attention)
    name, arrays = _stopped(learner, tmp_path, capsys)
    assert name == "graph loss"
    for path, value in cases.values(attention).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)
    batch = causal_graph.Batch(
        *(tf.constant(arrays[f"graph.{field}"]) for field in causal_graph.Batch._fields)
    )
    assert batch.state.shape == (learner.method.config.mask_batch, 41)
    assert attention.checked[int(attention.update(batch)[1])] == name


@pytest.mark.parametrize("place", ["world", "log"])
@pytest.mark.parametrize("name", _often(registry.names(registry.LOG)))
def test_items_that_may_not_repeat_do_not(name, place):
    learner = cases.catalogue(name, place).build(SEED)
    log = cases.log()
    observation = types.Observation(
        tf.constant(log.history_item),
        tf.constant(log.history_feedback),
        tf.zeros([40], tf.int32),
    )
    rng = np.random.default_rng(1)
    blocked = rng.random((40, cases.SPEC.num_candidates)) < 0.9
    blocked[:, 2] = False
    timestep = contract.history_timestep(observation, tf.constant([1, 2]), tf.constant(blocked))
    for policy in _policies(learner):
        action = policy(timestep).numpy()
        assert action.shape == (40, 1)
        assert not np.take_along_axis(blocked, action, axis=1).any()
        assert len(np.unique(action)) > 1


@pytest.mark.parametrize(
    "name",
    _often(name for name in registry.names("users") if name not in imrl_names.CONTROLS),
)
def test_live_methods_show_no_item_of_the_session_again(name):
    """In acting and exploring: most items of 40 users are blocked, others for each."""
    learner = cases.live_case(name, "users").build(SEED)
    simulator, method = cases.simulator_of("users"), learner.method
    state = simulator.reset(40, tf.constant([1, 2]))
    rng = np.random.default_rng(1)
    blocked = rng.random((40, cases.SPEC.num_candidates)) < 0.9
    blocked[:, 2] = False
    timestep = contract.timestep_of(simulator, state, tf.constant([3, 4]))
    timestep = timestep._replace(blocked=tf.constant(blocked))
    for action in (method.explore(timestep).action, method.greedy(timestep)):
        item = action.numpy()[:, 0]
        assert not blocked[np.arange(40), item].any()
        assert len(set(item)) > 1
    learner.advance()  # and what is learned from is finite where items are blocked


BOOTSTRAPPING = ("dyna_q", "rainbow", "td3")


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("place", ["world", "log"])
@pytest.mark.parametrize("name", _often(BOOTSTRAPPING))
def test_what_is_bootstrapped_from_may_be_shown(name, place, repeats):
    learner = cases.catalogue(name, place, repeats).build(SEED)
    assert isinstance(learner.replay, TransitionReplay)
    drawn = learner.replay.sample(64, tf.constant([1, 2]))
    assert (drawn.next_blocked is None) == repeats
    if repeats:
        return
    log, history = cases.log(), cases.SPEC.history_length
    slot, step = np.divmod(drawn.cell.numpy(), cases.SPEC.max_steps)
    for row in range(64):
        after = min(step[row] + learner.replay.n_steps, log.length[slot[row]])
        shown = np.zeros(cases.SPEC.num_candidates, bool)
        shown[log.item[slot[row], :after] - 1] = True
        np.testing.assert_array_equal(drawn.next_blocked[row], shown)
        last = drawn.next_observation.history_item[row, history - 1]
        assert shown[int(last) - 1]


def test_every_method_that_bootstraps_is_among_them():
    found = {
        name
        for name in registry.names(registry.LOG)
        if isinstance(
            getattr(cases.catalogue(name, "log").build(SEED), "replay", None), TransitionReplay
        )
    }
    assert found == set(BOOTSTRAPPING)


def test_the_items_of_a_slate_differ(story):
    if not story.case.live or cases.simulator_of(story.case.place).slate_size < 2:
        pytest.skip("no slates")
    story.back_to("middle")
    simulator, method = cases.simulator_of(story.case.place), story.learner.method
    state = simulator.reset(200, tf.constant([1, 2]))
    timestep = contract.timestep_of(simulator, state, tf.constant([3, 4]))
    for slate in (method.explore(timestep).action, method.greedy(timestep)):
        assert slate.shape == (200, simulator.slate_size)
        assert (np.diff(np.sort(slate, axis=1), axis=1) > 0).all()


def test_at_most_half_of_each_batch_is_synthetic(story):
    method = getattr(story.learner, "method", None)
    if not isinstance(method, imrl_method.ImrlMethod):
        pytest.skip("makes no synthetic steps")
    story.back_to("end")
    real, synthetic = int(method.replay.size), int(method.replay.synthetic_size)
    shares = method.batches(16).synthetic.numpy().mean(axis=1)
    assert shares.shape == (16,) and shares.max() <= 0.5
    if story.case.config.augmentation == "none" or story.case.place == "recogym":
        assert synthetic == 0  # RecoGym's true graph allows no exchange
    else:
        # They outnumber real rows, so that most batches would have more than half of them.
        assert synthetic > 1.4 * real
        assert shares.mean() > 0.4


@pytest.mark.parametrize("name", NEED_ITEMS)
def test_a_method_without_a_continuous_form_says_so(name):
    with pytest.raises(UserError, match=f"--environment=virtualtb: {name} learns in "):
        registry.get(name, "virtualtb")
    plain = registry.get(name).online
    simulator = cases.simulator_of("virtualtb")
    with pytest.raises(ValueError, match="recommends items; .* asks for a continuous action"):
        plain.maker(plain.config(), simulator, SEED)


@pytest.mark.parametrize("name", NEED_FEATURES)
def test_a_method_that_reads_item_features_says_so(name):
    with pytest.raises(UserError, match=f"--environment=gymnasium: {name} learns in "):
        registry.get(name, "gymnasium")
    plain = registry.get(name).online
    with pytest.raises(ValueError, match="declares no feature_columns"):
        plain.maker(plain.config(), cases.simulator_of("gymnasium"), SEED)


def test_learners_are_built_seeded():
    """Whatever makes a learner to train it does so inside `runs.seeded`."""
    makers = {"make", "maker", "_learner", "GoalRecAgent", "ImrlMethod"}
    builds = 0
    root = pathlib.Path(__file__).parents[2]
    for path in [
        *sorted((root / "launch").rglob("*.py")),
        *sorted((root / "tfrec/methods").glob("*.py")),
    ]:
        tree = ast.parse(path.read_text())
        assert not [n for n in ast.walk(tree) if _called(n) in ("set_random_seed", "set_seed")]
        trains = any(_called(n) == "train" for n in ast.walk(tree))
        seeded = [
            inner
            for node in ast.walk(tree)
            if _called(node) == "seeded"
            for inner in ast.walk(node)
            if _called(inner) in makers
        ]
        bare = [n for n in ast.walk(tree) if _called(n) in makers and n not in seeded]
        if trains:
            builds += len(seeded)
            # `_learner` of tables, called seeded, makes one itself.
            allowed = 1 if path.stem == "tables" else 0
            assert len(bare) <= allowed, f"{path.name}: line {[n.lineno for n in bare]}"
    assert builds >= 3  # recommender, online_run, tables


def test_seeds_are_set_before_anything_is_built():
    drawn = [
        runs.seeded(seed, lambda: (np.random.rand(), float(tf.random.uniform([]))), False)
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert not hasattr(runs.Run, "set_seeds")


def _called(node):
    """The last name of what a call calls."""
    if not isinstance(node, ast.Call):
        return None
    function = node.func
    return getattr(function, "attr", getattr(function, "id", None))


def _assert_same(found, expected):
    assert found.keys() == expected.keys()
    for path, value in found.items():
        np.testing.assert_array_equal(value, expected[path], err_msg=path)


def _stays(case, path):
    return any(re.match(known, f"{case.id}:{path}") for known in STILL)


def _beside_updates(path):
    return any(part in path for part in BESIDE_UPDATES)


def _stopped(learner, folder, capsys):
    """The tensor that the run named, and the arrays that it left."""
    run = runs.Run.open(folder / "run", {}, SEED)
    with pytest.raises(SystemExit) as stop:
        loop.train(learner, run, 100, save_every=100)
    assert stop.value.code == loop.EXIT_NON_FINITE
    (path,) = run.directory.glob("non_finite-*.npz")
    error = capsys.readouterr().err
    name = re.search(r"iteration \d+: (.*) is not finite", error)[1]
    assert str(path) in error and name in _checked(learner)
    with np.load(path) as stored:
        arrays = dict(stored)
    assert arrays
    return name, arrays


def _checked(learner):
    for part in (learner, getattr(learner, "method", None), getattr(learner, "agent", None)):
        if hasattr(part, "checked"):
            return list(part.checked)
    raise AssertionError("it checks nothing")


def _repeated(learner, arrays):
    """The first tensor that is not finite when the update is made again, or None."""
    part = getattr(learner, "method", learner)
    if isinstance(part, imrl_method.ImrlMethod):
        stored = {k.removeprefix("agent."): v for k, v in arrays.items() if "agent." in k}
        rows = tf.nest.map_structure(lambda x: x[0], part.batches(1))
        number = rows.reward.shape[0]
        like = imrl_agent.ImrlBatch(rows, tf.zeros([number]), tf.zeros([number, 1]))
        batch = finite.packed(stored, like)
        bad = part.agent._gradients(*batch)[0]
    else:
        number = [tf.constant(0)] if learner is not part else []
        _, bad = part.update_on(finite.packed(arrays, part.sample(*number)))
    return _checked(learner)[int(bad)] if int(bad) >= 0 else None


def _stored_reward(learner):
    replay = getattr(getattr(learner, "method", learner), "replay", None)
    if replay is None:
        return None
    if hasattr(replay, "sessions"):
        return replay.sessions.label
    if hasattr(replay, "columns"):
        return replay.columns["measurement" if "measurement" in replay.columns else "reward"]
    return replay.label if hasattr(replay, "label") else replay.reward


def _policies(learner):
    """What acts and what explores."""
    yield learner.policy()
    if hasattr(learner, "explore"):
        for epsilon in (0.0, 0.5, 1.0):
            yield learner.explore(tf.constant(epsilon))
        return
    config, model = learner.agent.config, learner.agent.averaged
    goal = tf.repeat(tf.constant(next(iter(learner.agent.named_goals.values())))[None], 40, 0)
    for epsilon in (0.0, 0.5, 1.0):
        yield acting.explore(model, tf.cast(goal, tf.float32), epsilon, config.action_pool)


def test_the_table_of_pairs_is_what_the_registries_allow():
    path = pathlib.Path(__file__).parents[2] / "docs/methods.md"
    rows = [line.split("|")[1:-1] for line in path.read_text().splitlines() if "|" in line]
    header, _, *table = [[cell.strip() for cell in row] for row in rows]
    places = ["users", *header[3:]]
    assert places == ["users", *(p for p in environments.ENVIRONMENTS if p != "users")]
    expected = {}
    for name in set(registry.names()) - set(imrl_names.CONTROLS):
        where = registry.get(name).environments
        log = "yes" if registry.LOG in where else ""
        lacking = {"virtualtb": NEED_ITEMS, "gymnasium": NEED_FEATURES}
        cells = {
            place: "yes" if place in where else "no" if name in lacking.get(place, ()) else ""
            for place in places
        }
        cells["users"] = "yes"  # those that learn from a log play with users in rounds
        expected[name] = [log, *(cells[place] for place in places)]
    assert {row[0]: row[1:] for row in table} == expected
