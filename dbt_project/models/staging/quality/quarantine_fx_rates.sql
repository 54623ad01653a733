{{ quarantine('fx_rates', ref('stg_fx_rates_parsed'), ['currency', 'rate_date', 'rate_to_base']) }}
