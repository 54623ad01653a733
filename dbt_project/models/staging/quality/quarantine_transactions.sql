{{ quarantine(
    'transactions',
    ref('stg_transactions_parsed'),
    ['txn_id', 'client_id', 'txn_date', 'amount', 'direction', 'counterparty_id', 'counterparty_country',
     'counterparty_sector', 'channel', 'currency', 'ingested_at'],
    ref('stg_transaction_duplicates'),
    'txn_id'
) }}
