"""EasyRec's benchmark page: four models, tested on 10 million rows."""

from esmm_jax.protocols.protocol import Measure, Protocol, rows

CTR, CVR, CTCVR = 'CTR AUC', 'masked CVR AUC', 'CTCVR AUC'

PROTOCOL = Protocol(
    name='easyrec10m',
    source=(
        'EasyRec, docs/source/benchmark.md, section AliCCP'
        ' (github.com/alibaba/EasyRec)'
    ),
    dataset=dict(
        preset='esmm23',
        valid_share=0.05,
        conversion_without_click='drop',
    ),
    # Of 43.0 million test rows these are 9.9 million.
    test_split='test[:23%]',
    metrics=(
        Measure(
            CTR, 'ctr/auc', 'pCTR against click, on all impressions tested'
        ),
        Measure(
            CVR,
            'cvr_clicked/auc',
            'pCVR against conversion, on the clicked impressions tested',
            'The page has it for ESMM alone.',
        ),
        Measure(
            CTCVR,
            'ctcvr/auc',
            'click and conversion, on all impressions tested',
            "Each model's own pCTR, not a common one.",
        ),
    ),
    published=rows(
        (CTR, CVR, CTCVR),
        {
            'SimpleMultiTask': (0.592606, None, 0.6306802),
            'MMoE': (0.5869702, None, 0.6330008),
            'ESMM': (0.5974812, 0.6841141, 0.6362526),
            'PLE': (0.5874, None, 0.6159),
        },
    ),
    training={
        'evals_per_epoch': 10,
        'selection.metric': 'valid/ctcvr/auc',
        'selection.mode': 'max',
    },
    deviations=(
        'The page reports the best step on the test rows. We choose one of ten'
        ' on 5 % of the training sessions, held out, by CTCVR AUC, and see the'
        ' test rows once.',
        'The page cuts its test table to 10 million rows and does not say'
        ' which. Ours are the sessions of 23 % of the test rows, in the order'
        ' of a hash.',
        'Its tables are private (aliccp_sample_train_kv_split_score), so its'
        ' fields, filters and training rows are not known; ours are all 23'
        ' fields and all rows.',
        'EasyRec counts AUC in bins, 200 unless set otherwise; ours is exact.',
        'The page has one number a model, without a spread. Its settings stand'
        ' in files that it links to and that could not be read; ours are those'
        ' of our configs, one epoch.',
        'For SimpleMultiTask, MMoE and PLE it has CTCVR and no CVR. We take'
        ' that as a tower for CTCVR trained over all impressions'
        ' (`end_to_end`, no calibrator); the page does not say so.',
    ),
)
