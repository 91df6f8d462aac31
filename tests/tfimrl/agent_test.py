"""Changed and unchanged weights of updates; draws, checkpoints, bad numbers, policies."""

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.trajectories import time_step

from tfimrl.agent import ImrlAgent
from tfimrl.config import ImrlConfig
from tfrec.baselines.online import sac
from tfrec.nn import networks
from tfrec.replay.steps import Steps
from tfrec.training import checkpoint, finite

OBSERVATION, ACTION, ROWS = 5, 2, 16
EACH = (
    {},
    {"mode": "faithful"},
    {"bonus_share": 0.1, "successor": "forward"},
    {"successor": "forward"},
    {"exploration": "entropy"},
    {"exploration": "kl"},
)


@pytest.fixture(autouse=True)
def _eager():
    """Tracing an update takes longer than a few eager ones; one test compiles."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def agent(seed=0, jit_compile=False, **changes):
    config = ImrlConfig(**{"hidden": (8, 8), "batch": ROWS, "learning_rate": 1e-2, **changes})
    return ImrlAgent(config, OBSERVATION, ACTION, seed, jit_compile)


def rows(*lead, seed=0):
    draw = np.random.default_rng(seed)
    lead = lead or (ROWS,)

    def normal(*shape):
        return tf.constant(draw.normal(size=[*lead, *shape]), tf.float32)

    return Steps(
        normal(OBSERVATION),
        tf.tanh(normal(ACTION)),
        normal(),
        normal(OBSERVATION),
        tf.ones(lead),
        tf.zeros(lead, tf.int32),
        tf.ones(lead, tf.bool),
        tf.zeros(lead, tf.bool),
    )


def values(module):
    return {name: v.numpy() for name, v in checkpoint.named_variables(module).items()}


def changed(before, after):
    return {name for name, value in before.items() if (value != after[name]).any()}


def test_a_bonus_share_takes_the_place_of_beta():
    batch = rows()
    shared = [agent(bonus_share=0.2, beta=beta).train(batch).extra for beta in (0.0, 9.0)]
    assert shared[0].value_loss == shared[1].value_loss
    # The log p_xi of the batch times the weight that makes it a fifth of the rewards.
    learner = agent(bonus_share=0.2)
    log_inverse = learner._stored_log_inverse(learner._network_input(batch)[0])
    weight = 0.2 * np.abs(batch.reward).mean() / np.abs(log_inverse).mean()
    by_beta = agent(beta=float(weight)).train(batch).extra
    assert float(shared[0].value_loss) == pytest.approx(float(by_beta.value_loss), rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [{"exploration": "entropy"}, {"exploration": "kl"}, {"mode": "faithful"}],
    ids=str,
)
def test_a_bonus_share_needs_a_bonus_of_its_own(changes):
    with pytest.raises(
        ValueError, match="bonus_share is 0.1 with exploration=.*expected 0, or"
    ):
        agent(bonus_share=0.1, **changes)


@pytest.mark.parametrize("changes", EACH, ids=str)
def test_an_update_moves_every_part(changes):
    learner = agent(**changes)
    before = values(learner.networks)
    info = learner.train(rows())
    assert set(before) == set(values(learner.networks))  # no new variables
    assert changed(before, values(learner.networks)) == set(before)
    assert np.isfinite(info.loss) and info.extra.updates == 1
    assert int(learner.train_step_counter) == 1


def test_parts_exist_where_a_loss_has_them():
    assert agent().networks.forward is None
    assert agent(successor="forward").networks.forward is not None
    for off in ({"exploration": "entropy"}, {"exploration": "kl"}, {"beta": 0.0}):
        assert agent(**off).networks.inverse is None


def test_beta_0_is_the_plain_soft_actor_critic():
    """IMRL with beta 0 and IMRL-E make the same updates, bit by bit."""
    off, plain = agent(beta=0.0), agent(exploration="entropy", beta=0.5)
    for _ in range(3):
        assert off.train(rows()).extra[:6] == plain.train(rows()).extra[:6]
    assert not changed(values(off.networks), values(plain.networks))


def test_an_update_of_the_plain_soft_actor_critic_by_hand():
    """The losses, computed again from the networks."""
    learner = agent(exploration="entropy", discount=0.9, reward_scale=0.5)
    batch, nets = rows(), learner.networks
    learner.train(rows(seed=9))  # so that V and the target network differ
    noise = tf.random.stateless_normal([ROWS, ACTION], [3, 4])
    bad, _, means = learner._gradients(batch, tf.ones([ROWS]), noise)
    mean, log_std = nets.policy(batch.state)
    u = mean + tf.exp(log_std) * noise
    action = tf.tanh(u)
    log_policy = tf.reduce_sum(
        -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi) - tf.math.log(1 - action**2),
        axis=-1,
    )
    alpha = tf.exp(nets.log_temperature)
    q = tf.minimum(*nets.q_values(batch.state, action))
    soft = q - alpha * log_policy
    target = 0.5 * batch.reward + 0.9 * nets.target_value(batch.next_state)[:, 0]
    square = tf.math.squared_difference
    q_loss = sum(square(q, target) for q in nets.q_values(batch.state, batch.action))
    expected = [
        tf.reduce_mean(q_loss),
        tf.reduce_mean(square(nets.value(batch.state)[:, 0], soft)),
        -tf.reduce_mean(soft),
        0,
        0,
        -alpha * tf.reduce_mean(log_policy - ACTION),
    ]
    assert int(bad) == -1
    np.testing.assert_allclose(means[:6], expected, rtol=1e-3)


def test_the_policys_gradient_is_that_of_q_and_entropy():
    """By finite differences of eq 13 in one weight of the policy."""
    learner = agent(successor="forward", beta=0.7)
    batch, weight = rows(), tf.ones([ROWS])
    noise = tf.random.stateless_normal([ROWS, learner._noise_width()], [3, 4])
    variable = learner.networks.parts()["policy"][-1]
    names = [name for name in learner.checked if name.startswith("gradient of")]
    index = names.index([n for n in names if n.startswith("gradient of policy")][-1])
    _, gradients, _ = learner._gradients(batch, weight, noise)
    losses = []
    for step in (1e-2, -2e-2):
        variable.assign_add(tf.one_hot(0, 2 * ACTION, step))
        losses.append(float(learner._gradients(batch, weight, noise)[2][2]))
    slope = (losses[0] - losses[1]) / 2e-2
    assert float(gradients[index][0]) == pytest.approx(slope, rel=0.02)


def test_faithful_weighs_g_by_beta_and_fixed_by_the_temperature():
    policy_losses = {}
    for mode, temperature in (("faithful", 1.0), ("faithful", 9.0), ("fixed", 9.0)):
        learner = agent(mode=mode, initial_temperature=temperature, beta=0.5)
        extra = learner.train(rows()).extra
        policy_losses[mode, temperature] = float(extra.policy_loss)
        expected = -extra.q - 0.5 * extra.empowerment
        if mode == "faithful":
            assert float(extra.policy_loss) == pytest.approx(float(expected), rel=1e-4)
    # No loss of the faithful form has a temperature, so none is learned or checked.
    assert policy_losses["faithful", 1.0] == policy_losses["faithful", 9.0]
    assert policy_losses["faithful", 9.0] != policy_losses["fixed", 9.0]
    faithful = agent(mode="faithful", beta=0.5)
    assert faithful.networks.log_temperature is None
    assert not [name for name in faithful.checked if "temperature" in name]
    extra = faithful.train(rows()).extra
    assert extra.temperature == 0.5 and extra.temperature_loss == 0.0
    assert "temperature loss" in agent(mode="fixed").checked


@pytest.mark.parametrize("changes", EACH, ids=str)
def test_an_unknown_next_state_is_never_read(changes):
    """The weights after three updates do not depend on it, even if it is NaN."""
    valid = tf.constant([True, False] * (ROWS // 2))
    batch = rows()._replace(own_next=valid)
    other = tf.where(valid[:, None], batch.next_state, np.nan)
    zeroed, with_nan = agent(**changes), agent(**changes)
    for _ in range(3):
        zeroed.train(batch)
        discount = tf.cast(valid, tf.float32)
        with_nan.train(batch._replace(next_state=other, discount=discount))
    assert not changed(values(zeroed), values(with_nan))
    # A control: the update depends on a known next state.
    with_nan.train(batch._replace(next_state=batch.next_state + 1))
    zeroed.train(batch)
    assert changed(values(zeroed), values(with_nan))


def test_unknown_next_states_do_not_train_the_inverse_dynamics():
    learner = agent()
    before = values(learner.networks.inverse)
    learner.train(rows()._replace(own_next=tf.zeros([ROWS], tf.bool)))
    assert not changed(before, values(learner.networks.inverse))


def test_the_target_of_a_last_step_is_its_reward():
    learner = agent(exploration="entropy")
    for variable in learner.networks.target_value.trainable_variables:
        variable.assign_add(tf.ones_like(variable))  # V' of all states is far from 0
    ended = rows()._replace(discount=tf.zeros([ROWS]))
    unknown = rows()._replace(own_next=tf.zeros([ROWS], tf.bool))
    target = learner._q_target(ended)
    np.testing.assert_allclose(target, ended.reward)
    np.testing.assert_allclose(learner._q_target(unknown), unknown.reward)
    assert np.abs(learner._q_target(rows()) - ended.reward).min() > 0.1


def test_the_target_network_is_an_exponential_average():
    learner = agent(tau=0.25)
    target_network = values(learner.networks.target_value)
    learner.train(rows())
    fast = values(learner.networks.value)
    for name, value in values(learner.networks.target_value).items():
        np.testing.assert_allclose(
            value, 0.75 * target_network[name] + 0.25 * fast[name], rtol=1e-5
        )


def test_fused_and_compiled_updates_are_the_single_ones():
    single, fused, compiled = (agent(jit_compile=jit) for jit in (False, False, True))
    batches = rows(3, ROWS)
    noise = tf.random.stateless_normal([3, ROWS, ACTION], [1, 2])
    weights = tf.ones([3, ROWS])
    for i in range(3):
        one = Steps(*(value[i : i + 1] for value in batches))
        single._compiled(one, weights[:1], noise[i : i + 1])
    assert fused._compiled(batches, weights, noise).extra.updates == 3
    tf.config.run_functions_eagerly(False)
    assert compiled._compiled(batches, weights, noise).extra.updates == 3
    expected = values(single.networks)
    for learner in (fused, compiled):
        for name, value in values(learner.networks).items():
            np.testing.assert_allclose(
                value, expected[name], rtol=2e-3, atol=2e-4, err_msg=name
            )
    # A bad batch also stops compiled updates before it changes a weight.
    before = values(compiled)
    reward = tf.tensor_scatter_nd_update(batches.reward, [[0, 4]], [np.inf])
    info = compiled._compiled(batches._replace(reward=reward), weights, noise)
    assert not changed(before, values(compiled))
    with pytest.raises(finite.NonFiniteError, match="q loss is not finite"):
        finite.check(compiled.checked, info.extra.non_finite, batches)


def test_a_source_draws_the_batches():
    learner = agent()

    def source(shape, seed):
        assert shape == [4, ROWS] and seed.shape == [2]
        return rows(*shape)

    assert learner.train_many(source, 4).extra.updates == 4
    with pytest.raises(ValueError, match="updates is None"):
        learner.train_many(source)


def test_rows_of_weight_0_have_no_effect():
    plain, changed_reward = agent(exploration="entropy"), agent(exploration="entropy")
    weights = tf.constant([1.0, 0.0] * (ROWS // 2))
    batch = rows()
    plain.train(batch, weights)
    changed_reward.train(
        batch._replace(reward=tf.where(weights > 0, batch.reward, 77.0)), weights
    )
    assert not changed(values(plain.networks), values(changed_reward.networks))


def test_errors_of_real_and_of_synthetic_rows_are_separate():
    batch = rows()._replace(
        synthetic=tf.constant([True] + [False] * (ROWS - 1)),
        reward=tf.one_hot(0, ROWS, 100.0),
    )
    extra = agent().train(batch).extra
    assert float(extra.synthetic_error) > 90 > 10 > float(extra.error)


def test_a_bad_number_is_named_and_changes_no_weight():
    learner, twin = agent(), agent()
    batches = rows(3, ROWS)
    reward = batches.reward.numpy()
    reward[1, 4] = np.nan
    with pytest.raises(finite.NonFiniteError, match="q loss is not finite") as error:
        learner.train_many(batches._replace(reward=tf.constant(reward)))
    np.testing.assert_array_equal(error.value.batch["steps.reward"], reward[1])
    assert error.value.batch["steps.state"].shape == (ROWS, OBSERVATION)
    assert int(learner.train_step_counter) == 1
    assert all(np.isfinite(value).all() for value in values(learner).values())
    # The first update was made, the one after the bad one was not.
    twin.train_many(batches)
    assert changed(values(agent().networks), values(learner.networks))
    assert changed(values(twin.networks), values(learner.networks))


def test_a_checkpoint_resumes_exactly(tmp_path):
    config = ImrlConfig()
    uninterrupted = agent()
    uninterrupted.train(rows())
    checkpoint.write(tmp_path / "here", uninterrupted, config)
    names = checkpoint.named_variables(uninterrupted)
    assert "networks/policy/layers/0/kernel" in names and "generator/_state_var" in names
    resumed = agent(seed=7)
    checkpoint.read(tmp_path / "here", resumed, config)
    step = time_step.restart(rows().state, batch_size=ROWS)
    for learner in (uninterrupted, resumed):
        learner.train(rows(seed=1))
    assert not changed(values(uninterrupted), values(resumed))
    actions = [
        learner.collect_policy.action(step).action for learner in (uninterrupted, resumed)
    ]
    np.testing.assert_array_equal(*actions)


def test_the_same_seed_gives_the_same_agent():
    one, two, other = agent(seed=3), agent(seed=3), agent(seed=4)
    for learner in (one, two, other):
        learner.train(rows())
    assert not changed(values(one), values(two))
    assert changed(values(one.networks), values(other.networks))


def test_policies():
    learner = agent()
    observation = rows().state
    step = time_step.restart(observation, batch_size=ROWS)
    mean, _ = learner.networks.policy(observation)
    test = learner.policy.action(step).action
    np.testing.assert_allclose(test, tf.tanh(mean), rtol=1e-5)
    np.testing.assert_allclose(test, learner.act(observation), rtol=1e-5)
    first, second = (learner.collect_policy.action(step).action for _ in range(2))
    assert np.abs(first - second).min() > 0  # stochastic in training
    seeded = [learner.act(observation, tf.constant([1, 2])) for _ in range(2)]
    np.testing.assert_array_equal(*seeded)
    assert np.abs(seeded[0] - test).min() > 0


def test_the_distribution_has_the_density_of_the_update():
    learner = agent()
    observation = rows().state
    step = time_step.restart(observation, batch_size=ROWS)
    distribution = learner.collect_policy.distribution(step).action
    mean, log_std = learner.networks.policy(observation)
    noise = tf.random.stateless_normal([ROWS, ACTION], [3, 4])
    fresh = learner._fresh(rows(), None, noise)
    action = tf.tanh(mean + tf.exp(log_std) * noise)
    np.testing.assert_allclose(
        distribution.log_prob(action), fresh.log_policy, rtol=1e-3, atol=1e-3
    )


def test_q_is_the_minimum_or_the_mean_of_the_critics():
    noise = tf.zeros([ROWS, ACTION])
    lower, mean = agent(), agent(target_q="mean")  # the same weights
    action = lower.act(rows().state)
    twins = np.stack(lower.networks.q_values(rows().state, action))  # [2, B]
    np.testing.assert_allclose(lower._fresh(rows(), None, noise).q, twins.min(0), rtol=1e-5)
    np.testing.assert_allclose(mean._fresh(rows(), None, noise).q, twins.mean(0), rtol=1e-5)


def test_a_bilinear_critic_is_a_linear_function_of_the_state_for_each_item():
    learner = agent(critic="bilinear", critic_decay=0.5)
    weights = np.arange((OBSERVATION + 1) * (ACTION + 1), dtype=np.float32)
    weights = weights.reshape(OBSERVATION + 1, ACTION + 1) / 10
    learner.networks.critics[0].weights.assign(weights)
    state = rows().state.numpy()
    second = np.eye(ACTION, dtype=np.float32)[[1] * ROWS]
    q_values = learner.networks.q_values(tf.constant(state), tf.constant(second))[0]
    # The weights of all items, and of the second one, column 2 after the constant.
    expected = weights[0, 0] + state @ weights[1:, 0] + weights[0, 2] + state @ weights[1:, 2]
    np.testing.assert_allclose(q_values, expected, rtol=1e-5)


def test_the_critics_squares_are_in_their_loss():
    plain, shrunk = (agent(critic="bilinear", critic_decay=d) for d in (0.0, 0.5))
    results = []
    for learner in (plain, shrunk):
        for critic in learner.networks.critics:
            critic.weights.assign(tf.fill([OBSERVATION + 1, ACTION + 1], 0.1))
        info = learner._gradients(rows(), tf.ones([ROWS]), tf.zeros([ROWS, ACTION]))
        results.append((info[1][:2], info[2][0]))
    (gradients, loss), (with_decay, more) = results
    squares = 2 * (OBSERVATION + 1) * (ACTION + 1) * 0.1**2
    assert float(more - loss) == pytest.approx(0.5 * squares, rel=1e-4)
    for without, decayed in zip(gradients, with_decay, strict=True):
        np.testing.assert_allclose(decayed - without, 0.5 * 2 * 0.1, rtol=1e-3)


def test_transitions_of_other_shapes_are_rejected():
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
        agent().train(rows()._replace(action=tf.zeros([ROWS, ACTION + 1])))


@pytest.mark.parametrize(
    "wrong", [{"mode": "both"}, {"exploration": "on"}, {"beta": -1.0}, {"tau": 2.0},
              {"hidden": ()}, {"successor": "none"}, {"batch": 0}, {"target_q": "max"},
              {"critic": "table"}, {"critic_decay": -1.0}],
    ids=str,
)  # fmt: skip
def test_config_rejects(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*expected"):
        ImrlConfig(**wrong)


def test_an_entropy_that_no_policy_has_is_rejected():
    assert networks.target_entropy(-1.0, 3) == -3.0  # SAC's
    assert networks.target_entropy(0.2, 100) == 20.0
    with pytest.raises(ValueError, match="target_entropy is 0.7; expected less than log 2"):
        networks.target_entropy(0.7, 100)
    for config in (ImrlConfig, sac.SacConfig):
        with pytest.raises(ValueError, match="target_entropy is 1.6"):
            config(target_entropy=1.6)
