"""Notes on settings that cannot be carried over."""

from collections.abc import Sequence
from typing import Any

from esmm_jax.easyrec.message import Message

# Settings without counterpart that need none: output folders and intervals,
# types of columns, which are read from the files, threads and prefetching.
_NEEDLESS = frozenset(
    'model_dir model_name log_step_count_steps save_checkpoints_steps'
    ' sync_replicas save_checkpoints_secs save_checkpoints_epochs'
    ' keep_checkpoint_max save_summary_steps startup_delay_steps prefetch_size'
    ' input_fields input_fields_str metrics_set metrics train_metrics'
    ' tower_name group_name eval_config input_type shuffle shuffle_buffer_size'
    ' num_readers num_workers num_parallel_calls network_name train_distribute'
    ' num_gpus_per_worker protocol inter_op_parallelism_threads'
    ' intra_op_parallelism_threads write_graph use_tensorboard pin_memory'
    ' tensorboard_summaries is_profiling summary_model_vars eval_batch_size'
    ' sparse_accumulator_type incr_save_config selected_cols tf_summary'
    ' selected_col_types features_name max_partitions precision'
    ' embedding_on_cpu expert_name fg_mode fg_threads feature_fields'
    ' force_restore_shape_compatible restore_filters odps_data_quota_name'
    ' odps_data_compression is_orderby_partition pai_worker_queue'
    ' pai_worker_slice_num eval_interval_secs max_evals save_graph'
    ' file_shard shard cudnn_allow_tf32 cuda_matmul_allow_tf32'.split()
)
# Why a setting is not carried over, where its name does not say it.
_REASONS = {
    **dict.fromkeys(
        (
            'negative_sampler', 'negative_sampler_v2',
            'negative_sampler_in_memory', 'hard_negative_sampler',
            'hard_negative_sampler_v2'),
        'no negatives are drawn; the rows of the log are all'),
    'use_moving_average': 'no average of the parameters is evaluated',
    'loss_weight_strategy': 'the weights of the losses are fixed',
    'kd': 'there is no distillation',
    'variational_dropout': 'features are not dropped',
    'bottom_cmbf': 'there is no such network below the towers',
    'bottom_uniter': 'there is no such network below the towers',
    'ait_project_dim': 'the transfer is as wide as the tower',
    'project_dim': 'the transfer is as wide as the tower',
    'mask_net': 'there is no such network below the towers',
    'use_feature_bn': 'the input vector is not normalised',
    'gate_dnn': 'the gates have no hidden layer',
    'initializer': 'model.initializer is one for all kernels',
    'init_fn': 'embed_init_scale is one for all tables',
    'trainable': 'every table is trained',
    'ignore_error': 'a row that cannot be read is an error',
    'drop_remainder': 'the last batch of an epoch counts, padded',
    'fine_tune_checkpoint': 'its format cannot be read',
    'freeze_gradient': 'every parameter is trained',
    'embedding_learning_rate_multiplier': 'there is one learning rate',
    'bias': 'every hidden layer has a bias',
    'mixed_precision': "model.dtype='bfloat16' is what there is",
    'num_class': 'a label is 0 or 1',
    'label_sep': 'a label is one number',
    'label_dim': 'a label is one number',
    'extra_label_func': 'make such a column in the log',
    'fg_json_path': 'name the columns of its features in dataset.id',
    'wide_deep': 'there is no wide part; its features go into the input vector',
}


class Notes:
  """Collects notes.

  Attributes:
    lines: The notes, by line of the file; those without a line come first.
  """

  def __init__(self):
    self._notes: list[tuple[int, str]] = []

  @property
  def lines(self) -> list[str]:
    ordered = sorted(self._notes, key=lambda note: note[0])
    return list(dict.fromkeys(text for _, text in ordered))

  def add(self, line: int, what: str, why: str) -> None:
    prefix = f'line {line}: ' if line else ''
    self._notes.append((line, f'{prefix}{what}: {why}.'))

  def same(self, values: Sequence[Any], what: str, why: str) -> Any:
    """Returns the first of values; adds a note if they are not all equal."""
    if len(set(values)) > 1:
      different = ', '.join(map(str, dict.fromkeys(values)))
      self.add(0, what, f'{different} became {values[0]}; there is {why}')
    return values[0]

  def unused(self, root: Message) -> None:
    """Adds the settings that no conversion has read."""
    for path, line, value in root.unused():
      name = path.rpartition('.')[2]
      needless = name in _NEEDLESS or not line or value == ''
      # A setting that is switched off, or a part that has its only value.
      if needless or value is False or (name, value) in _DEFAULTS:
        continue
      shown = '{...}' if isinstance(value, Message) else value
      reason = f'; {_REASONS[name]}' if name in _REASONS else ''
      self.add(line, path, f'{shown} is not carried over{reason}')


# Written, but with the value that it has here in any case.
_DEFAULTS = {
    ('loss_weight_strategy', 'Fixed'), ('wide_deep', 'DEEP'),
    ('group_type', 'DEEP'), ('num_class', 1), ('bias', True),
    ('rtp_separator', ';'), ('sub_feature_type', 'IdFeature'),
    ('trainable', True), ('data_type', 'FP32'), ('raw_input_dim', 1),
}
