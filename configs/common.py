"""Keys that every config has, with their defaults; variants; data sets."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.configs import variants
from ml_collections import config_dict

placeholder = config_dict.placeholder
ConfigDict = config_dict.ConfigDict
_NIGHTLY = 'user_id,video_id,author_id,tags,tab,hour'
# Variant -> its `dataset.history`. Live: labels that are ten minutes old, the
# user's last ones after a minute, and the session. Cautious: an hour, and
# nothing that rows of one request could tell of each other.
KUAIRAND_HISTORIES = {
    'kuairand': None,
    'kuairand_history': True,
    'kuairand_live': (
        f'{_NIGHTLY},user_id:delay=10m,video_id:delay=10m,author_id:delay=10m,'
        'user_id+tab:delay=10m,user_id:delay=60s:last=3:amounts=none,'
        'session=user_id:pause=30m'
    ),
    'kuairand_live_cautious': (
        f'{_NIGHTLY},user_id:delay=60m,video_id:delay=60m,author_id:delay=60m,'
        'user_id+tab:delay=60m'
    ),
}
VARIANTS = (
    '',
    'smoke',
    'synthetic_funnel',
    'kuairand',
    'kuairand_history',
    'kuairand_live',
    'kuairand_live_cautious',
    'ali_ccp',
    'ali_ccp_smoke',
    'tabular',
)


def base() -> ConfigDict:
  """Makes a run on the default simulated log; a model's config adds `model`."""
  # Late: importing a config does not bring JAX along.
  from esmm_jax.balancing import BALANCERS
  from esmm_jax.balancing.method import option_types
  from esmm_jax.estimators import ESTIMATORS
  from esmm_jax.estimators.contract import keys

  return ConfigDict(
      dict(
          # Data order, initialisation and dropout.
          seed=0,
          # Modules that add models, estimators, metrics or data sets of your
          # own (docs/extending.md): ('my_package.my_module',).
          plugins=placeholder(tuple),
          # Initialisation and dropout alone, when set.
          init_seed=placeholder(int),
          num_epochs=1,
          batch_size=4096,
          # Rows of one session (or user) that stay together when shuffled.
          group_run=1,
          estimator='entire_space',
          # Unset: as the signature of the estimator's function has it.
          estimator_options={
              name: placeholder(kind)
              for name, kind in keys.option_types(ESTIMATORS).items()
          },
          # Weights of impressions in the loss cvr_clicked.
          sampling=dict(
              # Share of the un-clicked ones, as negatives: AMAN.
              unclicked_rate=0.0,
              # Of each conversion: OVERSAMPLING.
              conversion_copies=1.0,
          ),
          # Unset: the estimator's own. 0 leaves a term out.
          loss_weights={
              term: placeholder(float) for term in keys.terms(ESTIMATORS)
          },
          # Weighs the tasks in every step (docs/balancing.md). Unset: static,
          # and as the signature of the method's function has it.
          balancing=dict(
              name=placeholder(str),
              # exact or representation.
              gram=placeholder(str),
              # all or each.
              parts=placeholder(str),
              # own or weighted.
              towers=placeholder(str),
              # Compares the tasks' gradients where the method does not.
              measure=placeholder(bool),
              # The terms that are balanced.
              terms=placeholder(tuple),
              # Folder of a finished run, from this one's, that is replayed.
              of=placeholder(str),
              **{
                  name: placeholder(kind)
                  for name, kind in option_types(BALANCERS).items()
              },
          ),
          learning_rate=1e-3,
          schedule=dict(name='constant', warmup_steps=0, end_factor=0.01),
          optimizer=dict(
              name='adam',
              b1=0.9,
              b2=0.999,
              eps=1e-8,
              initial_accumulator=0.1,
              momentum=0.0,
          ),
          # Of the embedding table: adam, adagrad, sgd or rowwise_adagrad; ''
          # is that of the network. Settings are those above.
          table_optimizer='',
          # Adam's moments of the table: float32, or bfloat16, half as large.
          table_moments='float32',
          embed_init_scale=0.01,
          # Times the embedding, added to the gradient of each row touched.
          embedding_l2=0.0,
          # Times the kernel, added to the gradient of the towers' kernels.
          tower_l2=0.0,
          # Decoupled, on the kernels of the network.
          weight_decay=0.0,
          # Largest norm of the whole gradient; 0 does not clip.
          clip_norm=0.0,
          # Evaluations and checkpoints; `selection` considers all of them.
          evals_per_epoch=4,
          selection=dict(
              # The parameters that the test split sees are those of the best
              # evaluation; '' takes the last. Unset: valid/ctcvr/logloss, or
              # the like where the tasks have no ctcvr.
              metric=placeholder(str),
              # min or max. Unset: as the metric's name says.
              mode=placeholder(str),
              # Evaluations without improvement before training stops; 0 never.
              patience=0,
          ),
          # A loss or gradient that is not finite: 'stop' ends the run, 'skip'
          # leaves the step out, at most so many times.
          non_finite='stop',
          non_finite_ceiling=100,
          # Folder of a run, from this one's, whose pCTR makes ctcvr_common of
          # this run's pCVR; '.' is this run. That run saves its predictions.
          common_ctr='',
          # Folder of a finished run; this one begins with its parameters and
          # moments (docs/after_the_first_run.md).
          init_from=placeholder(str),
          # Folder of a finished run that is trained anew, on its rows of
          # training and validation, for the steps that it selected; the rest
          # is as there (docs/after_the_first_run.md).
          refit_of=placeholder(str),
          # A published set-up of Ali-CCP (`esmm_jax/protocols/`): fills what
          # the dataset section leaves unset, adds its summary to the results.
          protocol='',
          dataset=simulator(),
          run=machine(),
      )
  )


def machine() -> ConfigDict:
  """Makes the section of the machine, which decides no number.

  It is no part of a run's identity: a run resumes with other values. The keys
  may be written without `run.` too.
  """
  return ConfigDict(
      dict(
          # Devices along each axis: runs trained side by side, examples of a
          # batch (0: what is left), rows of the tables (docs/scale.md).
          mesh=dict(replicas=1, data=0, rows=1),
          # Whether the training set is kept in device memory: 'on', 'off', or
          # 'auto', on one accelerator where it takes a quarter of it at most.
          device_resident='auto',
          # Parts of a batch worked through one after the other, with the
          # gradient of the whole; 0 chooses by the size (CPU only).
          micro_batches=0,
          # Memory that the table and its state may take; 0 asks the system.
          memory_limit_gb=0.0,
          log_every=50,
          eval_batch_size=8192,
          save_predictions=False,
      )
  )


def model(name: str, **own: Any) -> ConfigDict:
  """Makes a model's section: the keys of all models, and `own` ones."""
  return ConfigDict(
      dict(
          name=name,
          embed_dim=18,
          tower_units=(),
          # relu, leaky_relu, gelu, silu, tanh, prelu or dice.
          activation='relu',
          dropout=0.0,
          # none, batch or layer.
          norm='none',
          initializer='he_normal',
          # Of products and activations: float32 or bfloat16.
          dtype='float32',
          # DCN-v2 on the input vector; rank 0 is full.
          cross_layers=0,
          cross_rank=0,
          # none, fm (products of the fields' embeddings, in the input vector)
          # or deepfm (a factorization machine, added to each output).
          interaction='none',
          # Hidden widths of the attention over a list with a target. Unset:
          # (36,).
          attention_units=placeholder(tuple),
      )
      | own
  )


def simulator(preset: str = 'default') -> ConfigDict:
  """Makes the section of the simulator; `SimulatorConfig` describes the keys.

  Unset keys have the preset's value.
  """
  return ConfigDict(
      dict(
          name='synthetic_funnel',
          preset=preset,
          num_train=placeholder(int),
          num_valid=placeholder(int),
          num_test=placeholder(int),
          stages=placeholder(int),
          rho=placeholder(float),
          hidden=placeholder(float),
          ctr=placeholder(float),
          cvr=placeholder(float),
          auc_ctr=placeholder(float),
          auc_cvr=placeholder(float),
          policy=placeholder(float),
          candidates=placeholder(int),
          users=placeholder(int),
          items=placeholder(int),
          uniform_test=placeholder(bool),
          # Days from a click to its conversion, and the age of the oldest
          # click when the log of the training rows was taken.
          delay_mean=placeholder(float),
          delay_shape=placeholder(float),
          delay_spread=placeholder(float),
          delay_window=placeholder(float),
          seed=placeholder(int),
          **_splits(),
      )
  )


def kuairand() -> ConfigDict:
  """Makes the section of KuaiRand-Pure, read from `raw_dir`.

  `KuaiRandConfig` describes the keys and has their defaults.
  """
  return ConfigDict(
      dict(
          name='kuairand',
          raw_dir='',
          conversion=placeholder(str),
          play_time=placeholder(bool),
          conversion_without_click=placeholder(str),
          drop_duplicates=placeholder(bool),
          check_counts=placeholder(bool),
          test_days=placeholder(int),
          valid_days=placeholder(int),
          min_count=placeholder(int),
          # True, or a text of the language of histories (docs/history.md);
          # such a key takes both as an `object`.
          history=placeholder(object),
          history_form=placeholder(str),
          history_strength=placeholder(float),
          history_live=placeholder(bool),
          # 'train+valid' of a run that trains on both; `refit_of` sets it.
          fit_on=placeholder(str),
          **_splits(),
      )
  )


def ali_ccp() -> ConfigDict:
  """Makes the section of Ali-CCP, read from `raw_dir`.

  `AliCcpConfig` describes the keys and has their defaults; a protocol fills
  unset keys first. Leave `raw_dir` empty to use data that
  `experiments.prepare_data` has prepared.
  """
  return ConfigDict(
      dict(
          name='ali_ccp',
          raw_dir='',
          preset=placeholder(str),
          min_count=placeholder(int),
          valid_share=placeholder(float),
          sample=placeholder(float),
          conversion_without_click=placeholder(str),
          without_common=placeholder(str),
          bad_lines=placeholder(str),
          weight_dtype=placeholder(str),
          check_counts=placeholder(bool),
          # Entries read of each of the four user lists.
          history_length=placeholder(int),
          **_splits()
          | dict(
              train_split=placeholder(str),
              valid_split=placeholder(str),
              test_split=placeholder(str),
          ),
      )
  )


def tabular() -> ConfigDict:
  """Makes the section of a log of your own (docs/your_own_data.md)."""
  return ConfigDict(
      dict(
          name='tabular',
          # CSV and Parquet files: paths, globs, folders, remote paths; with
          # commas.
          files='',
          # Columns, separated by commas; options follow a name, as in
          # 'user:min_count=5,item'. Categorical, also 'price:buckets=10'; lists
          # of such; numbers.
          id='',
          ids='',
          float='',
          # Pairs of columns, 'city*category:min_count=5'.
          crosses=placeholder(str),
          # Columns of the labels, 0 or 1, or comparisons: 'rating>=4'.
          click='click',
          cart='',
          conversion='conversion',
          # More labels: 'like:after=click,share,watch_seconds:after=click
          # :kind=regression'.
          labels=placeholder(str),
          # A conversion without a click: error, drop, keep or click.
          conversion_without_click='error',
          # A conversion that is null or -1: error, zero or drop.
          unknown_conversion=placeholder(str),
          # Column of the weight of each row in the loss.
          weight=placeholder(str),
          # Column whose values GAUC groups by.
          group='',
          # random, time, column or files.
          split='random',
          split_by='',
          split_column='',
          split_seed=0,
          time='',
          # Unset: .1, and no rows of training files.
          valid_share=placeholder(float),
          test_share=placeholder(float),
          valid_from='',
          test_from='',
          valid_files='',
          test_files='',
          # Training rows below which a value is rare.
          min_count=2,
          shard_rows=1 << 20,
          # The form of CSV files: a character or 'tab'; 'none' or the names;
          # a codec of Python; texts that are missing values, with commas; a
          # character or 'none'; 'csv' where the files' names do not say so.
          separator=placeholder(str),
          header=placeholder(str),
          encoding=placeholder(str),
          null_values=placeholder(str),
          quote=placeholder(str),
          format=placeholder(str),
          # Columns of the past, with `time`: 'user:delay=10m,user+tab:delay=1d,
          # session=user' (docs/history.md). Numbers as float, bucket or both;
          # pseudo-counts; the zone of its days; the column of the request.
          history=placeholder(str),
          history_form=placeholder(str),
          history_strength=placeholder(float),
          history_zone=placeholder(str),
          history_request=placeholder(str),
          # Folder of a run whose vocabulary grows by the values of this log;
          # `init_from` sets it.
          vocabulary_of=placeholder(str),
          # 'train+valid' of a run that trains on both; `refit_of` sets it.
          fit_on=placeholder(str),
          **_splits(),
      )
  )


def _splits():
  # Parts, 'train[:10%]', and sums, 'train+valid', are fine. No fields or no
  # tasks named: all that the data has.
  return dict(
      train_split='train',
      valid_split='valid',
      test_split='test',
      fields=(),
      tasks=(),
  )


def smoke(config: ConfigDict) -> ConfigDict:
  """Changes a config to a run of seconds, on the tiny simulated log."""
  config.dataset = simulator('tiny')
  config.dataset.num_train = 40_000
  config.dataset.num_valid = 10_000
  config.dataset.num_test = 20_000
  config.batch_size = 512
  config.learning_rate = 1e-2
  config.evals_per_epoch = 2
  config.model.embed_dim = 4
  config.run.log_every = 10
  return config


def variant(
    config: ConfigDict, name: str, sizes: Mapping[str, Mapping[str, Any]]
) -> ConfigDict:
  """Applies a variant that every config has.

  Args:
    config: The default.
    name: One of `VARIANTS`.
    sizes: `smoke` and `kuairand` -> values of keys in the model's section.
  """
  variants.check(name, VARIANTS)
  if name == 'smoke':
    config = smoke(config)
    config.model.update(sizes['smoke'])
  elif name == 'ali_ccp_smoke':
    config = smoke(config)
    config.dataset = ali_ccp()
    config.dataset.history_length = 4
    config.model.update(sizes['smoke'])
  elif name == 'ali_ccp':
    # Paper: embeddings of 18, towers 360-200-80, Adam. Learning rate, batch
    # size and epochs were not published; these are not tuned.
    config.dataset = ali_ccp()
  elif name == 'tabular':
    config.dataset = tabular()
    # Vectors of a file for the values of columns (docs/your_own_data.md):
    # 'item:file=vectors.parquet,author:file=authors.npz:frozen=False'.
    config.model.vectors = placeholder(str)
  elif name.startswith('kuairand'):
    config = for_kuairand(config, KUAIRAND_HISTORIES[name])
    config.model.update(sizes['kuairand'])
  return config


def for_kuairand(config: ConfigDict, history: bool | str | None) -> ConfigDict:
  """Changes a config to KuaiRand-Pure.

  The settings were the best on the validation day, for both conversions, at
  seed 0; those of a live history are the nightly one's.

  Args:
    config: The default.
    history: As `KuaiRandConfig` has it.
  """
  config.dataset = kuairand()
  config.batch_size = 1024
  config.num_epochs = 3
  config.evals_per_epoch = 2
  config.schedule.name = 'cosine'
  config.selection = dict(metric='valid/ctcvr/auc', mode='max', patience=0)
  config.model.dropout = 0.2
  if history:
    config.dataset.history = history
    config.model.embed_dim = 8
    config.learning_rate = 1e-3
    config.embedding_l2 = 3e-3
    if config.estimator == 'entire_space':
      config.loss_weights.cvr_clicked = 1.0
  else:
    config.num_epochs = 2
    config.model.embed_dim = 16
    config.learning_rate = 3e-3
    config.embedding_l2 = 3e-4
    # Dense Adam keeps moving a rare row for ten steps after its gradient; an
    # update of touched rows does not. Without the first moment the whole
    # change comes at once.
    config.optimizer.b1 = 0.0
  return config
