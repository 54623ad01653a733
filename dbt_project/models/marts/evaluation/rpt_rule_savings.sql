with

final as (

    select
        model,
        reason,
        cast(rules_fired_count as bigint) as rules_fired_count,
        cast(recall_ratio as double) as recall_ratio,
        cast(rules_false_positives_count as bigint) as rules_false_positives_count,
        cast(model_false_positives_count as bigint) as model_false_positives_count,
        cast(saved_ratio as double) as saved_ratio,
        cast(interval_low as double) as interval_low,
        cast(interval_high as double) as interval_high
    from {{ source('evaluation', 'rule_savings') }}

)

select * from final
