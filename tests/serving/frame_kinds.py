"""A table of arrow in every form in which people hold rows."""

import duckdb
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
from pyarrow import dataset
import pyarrow as pa


class Holder:
  """What has one protocol of the dataframe libraries only."""

  def __init__(self, **methods):
    for name, method in methods.items():
      setattr(type(self), name, staticmethod(method))


def stream(table):
  return type('Stream', (Holder,), {})(
      __arrow_c_stream__=table.__arrow_c_stream__)


def array(table):
  batch = table.combine_chunks().to_batches()[0]
  return type('Rows', (Holder,), {})(__arrow_c_array__=batch.__arrow_c_array__)


def interchange(table):
  """Has no lists: they are texts."""
  batch = texts(table).combine_chunks()
  return type('Other', (Holder,), {})(__dataframe__=batch.__dataframe__)


def texts(table):
  """The same with lists as texts."""
  for k, field in enumerate(table.schema):
    if pa.types.is_list(field.type):
      lists = [
          None if row is None else '|'.join(map(repr, row)).replace("'", '')
          for row in table[field.name].to_pylist()]
      table = table.set_column(k, field.name, pa.array(lists, pa.string()))
  return table


def scalars(table):
  return [f.name for f in table.schema if not pa.types.is_nested(f.type)]


def objects(table):
  """Python objects, and all of pandas' nulls beside them."""
  frame = table.to_pandas().astype(object)
  nulls = [None, np.nan, pd.NA]
  for name in scalars(table):
    column = table[name].to_pylist()
    frame[name] = pd.Series(
        [nulls[k % 3] if v is None else v for k, v in enumerate(column)],
        dtype=object)
  return frame


def categories(table):
  frame = table.to_pandas()
  return frame.astype({n: 'category' for n in scalars(table)})


def shuffled(table):
  frame = table.to_pandas()
  frame.index = frame.index[::-1] * 2 + 7
  return frame


def sparse(table):
  frame = table.to_pandas()
  whole = [f.name for f in table.schema if pa.types.is_integer(f.type)]
  return frame.astype({n: pd.SparseDtype(frame[n].dtype) for n in whole})


def polars_categories(table):
  frame = pl.from_arrow(table)
  return frame.with_columns(
      pl.col(n).cast(pl.Categorical) for n in scalars(table)
      if frame[n].dtype == pl.String)


def numpy_columns(table):
  frame = table.to_pandas().astype(
      {f.name: object for f in table.schema if pa.types.is_string(f.type)})
  return {name: frame[name].to_numpy() for name in frame}


def jax_columns(table):
  columns = numpy_columns(table)
  whole = [f.name for f in table.schema if pa.types.is_integer(f.type)]
  return columns | {
      name: jnp.asarray(columns[name], jnp.int32) for name in whole}


def without_nulls(table):
  return [
      {k: v for k, v in row.items() if v is not None}
      for row in table.to_pylist()]


def structured(table):
  """A structured array has no lists: they are texts."""
  return texts(table).to_pandas().to_records(index=False)


def chunked(table):
  pieces = [table.slice(k, 7) for k in range(0, table.num_rows, 7)]
  return pa.concat_tables(pieces)


KINDS = {
    'pandas': lambda t: t.to_pandas(),
    'pandas_nullable': lambda t: t.to_pandas().convert_dtypes(),
    'pandas_arrow': lambda t: t.to_pandas(types_mapper=pd.ArrowDtype),
    'pandas_texts': lambda t: t.to_pandas().astype(
        {f.name: 'string[python]' for f in t.schema
         if pa.types.is_string(f.type)}),
    'pandas_objects': objects,
    'pandas_categories': categories,
    'pandas_sparse': sparse,
    'pandas_other_index': shuffled,
    'polars': pl.from_arrow,
    'polars_lazy': lambda t: pl.from_arrow(t).lazy(),
    'polars_categories': polars_categories,
    'polars_to_arrow': lambda t: polars_categories(t).to_arrow(),
    'table': lambda t: t,
    'table_in_chunks': chunked,
    'record_batch': lambda t: t.combine_chunks().to_batches()[0],
    'reader': lambda t: t.to_reader(7),
    'dataset': dataset.dataset,
    'scanner': lambda t: dataset.dataset(t).scanner(),
    'duckdb': duckdb.from_arrow,
    'c_stream': stream,
    'c_array': array,
    'interchange': interchange,
    'dict_of_lists': lambda t: t.to_pydict(),
    'dict_of_tuples': lambda t: {k: tuple(v) for k, v in t.to_pydict().items()},
    'dict_of_arrow': lambda t: {k: t[k] for k in t.column_names},
    'dict_of_numpy': numpy_columns,
    'dict_of_jax': jax_columns,
    'dict_of_pandas': lambda t: dict(t.to_pandas().items()),
    'dict_of_polars': lambda t: pl.from_arrow(t).to_dict(),
    'rows': lambda t: t.to_pylist(),
    'rows_without_nulls': without_nulls,
    'named_tuples': lambda t: list(t.to_pandas().itertuples()),
    'structured_array': structured,
    'texts_in_table': texts,
}
# Their lists are texts, which are other values for a file.
AS_TEXTS = ('interchange', 'structured_array', 'texts_in_table')
